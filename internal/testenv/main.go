// Command testenv runs all tests of the repository, in every module, against
// real servers: it is what `make test` runs, and with -long `make test-long`.
//
// It starts the servers once (the Postgres that most tests use, the oldest
// and the newest supported Postgres, one Kafka broker), names them to the
// tests in WALPOST_TEST_* variables, and runs `go test -race` in one module
// after the other. A server named by such a variable already is used as it
// is. WALPOST_TEST_REQUIRE=1 turns every test that would be skipped for want
// of a component into a failure. A test that is skipped all the same fails the
// run, unless it is left to the long size: package long says what that is.
//
// Other arguments go to `go test`: `go run ./internal/testenv -run Restart`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"walpost/internal/testenv/long"
	"walpost/internal/testenv/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		os.Exit(1)
	}
}

// run starts the servers, runs the tests and ends the servers, whatever
// comes in between.
func run(ctx context.Context, args []string) (err error) {
	modules, err := findModules(".")
	if err != nil {
		return err
	}
	set, err := servers.Start(ctx)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	if len(args) > 0 && args[0] == "-long" {
		args = args[1:]
		return runJobs(ctx, newReport(os.Stdout, args), longJobs(modules, args), append(set.Environment(), long.Variable+"=1"))
	}
	return runJobs(ctx, newReport(os.Stdout, args), shortJobs(modules, args), set.Environment())
}
