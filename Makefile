# The modules: the root's and the nested ones, which `go test ./...` at the
# root does not see. tools/ holds no code, only the linters' versions.
MODULES := $(patsubst %/go.mod,%,$(shell find . -name go.mod -not -path './tools/*' -not -path '*/testdata/*' -not -path '*/.*/*' | sort))
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := go tool -modfile=$(CURDIR)/tools/go.mod staticcheck

.PHONY: build test test-long lint demo bench chaos

# bin/walpost, for any machine of this kind: no C library is linked.
build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/walpost ./cmd/walpost

# The tests of all modules against real servers, which are started once: every
# guarantee, in at most 12 minutes on two cores. ARGS go to `go test`:
# make test ARGS='-run Restart'
test:
	go run ./internal/testenv $(ARGS)

# The same and what make test leaves out: other versions, volumes, clusters. At
# most an hour; for releases.
test-long:
	go run ./internal/testenv -long $(ARGS)

lint:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	@set -e; for module in $(MODULES); do \
		echo "lint $$module"; cd "$(CURDIR)/$$module"; \
		go mod tidy -diff; go vet ./...; $(STATICCHECK) ./...; \
	done
	go -C tools mod tidy -diff

# Orders through a throwaway Postgres and an embedded broker, for 30 seconds.
# DEMO_SECONDS=n sets another length, 0 runs until Ctrl-C.
demo:
	@go -C demo run .

bench:
	go -C bench run . $(ARGS)

# The guarantees, put to the test: a thousand faults come over the real thing,
# then each guard is taken out and a test has to fall. About an hour;
# docs/guarantees.md is what comes of it. ARGS go to the first command:
# make chaos ARGS='-faults 100 -seed 7'
chaos:
	mkdir -p bin
	go -C chaos run . -save "$(CURDIR)/bin/ledger.json" $(ARGS)
	go -C chaos run ./mutate -json "$(CURDIR)/bin/mutations.json"
	go -C chaos run . -page "$(CURDIR)/bin/ledger.json" -mutations "$(CURDIR)/bin/mutations.json" -write "$(CURDIR)/docs/guarantees.md"
