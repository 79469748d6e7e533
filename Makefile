# The modules: the root and the nested ones, which `go test ./...` at the root
# does not cover. tools/ has no code, only the versions of the linters.
MODULES := $(patsubst %/go.mod,%,$(shell find . -name go.mod -not -path './tools/*' -not -path '*/testdata/*' -not -path '*/.*/*' | sort))
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := go tool -modfile=$(CURDIR)/tools/go.mod staticcheck

.PHONY: build test test-long lint demo bench chaos

# bin/walpost. It links no C library, so it runs on any machine of this kind.
build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/walpost ./cmd/walpost

# The tests of all modules against real servers, which are started once. They
# test every guarantee, in at most 12 minutes on two cores. ARGS are passed to
# `go test`: make test ARGS='-run Restart'
test:
	go run ./internal/testenv $(ARGS)

# The tests of make test and those that it leaves out: other versions, large
# volumes, clusters. At most an hour; needed before a release.
test-long:
	go run ./internal/testenv -long $(ARGS)

lint:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	@set -e; for module in $(MODULES); do \
		echo "lint $$module"; cd "$(CURDIR)/$$module"; \
		go mod tidy -diff; go vet ./...; $(STATICCHECK) ./...; \
	done
	go -C tools mod tidy -diff

# Orders go through a throwaway Postgres and an embedded broker, for 30
# seconds. DEMO_SECONDS=n sets another length, and 0 means until Ctrl-C.
demo:
	@go -C demo run .

bench:
	go -C bench run . $(ARGS)

# Tests the guarantees: it causes a thousand faults on real servers. Then it
# takes out each guard, and a test has to fail. It takes about an hour and
# writes docs/guarantees.md. If it is interrupted, the next one goes on with the
# rounds that are left. ARGS are passed to the first command:
# make chaos ARGS='-faults 100 -seed 7'
chaos:
	mkdir -p bin
	go -C chaos run . -keep "$(CURDIR)/bin/rounds.json" -save "$(CURDIR)/bin/ledger.json" $(ARGS)
	go -C chaos run ./mutate -keep "$(CURDIR)/bin/outcomes.json" -json "$(CURDIR)/bin/mutations.json"
	go -C chaos run . -page "$(CURDIR)/bin/ledger.json" -mutations "$(CURDIR)/bin/mutations.json" -write "$(CURDIR)/docs/guarantees.md"
