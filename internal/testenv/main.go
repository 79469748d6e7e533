// Command testenv runs all tests of the repository, in every module, against real servers. `make test` runs it, and `make test-long` runs
// it with -long.
//
// It starts the servers once: the Postgres that most tests use, the oldest and the newest supported Postgres, and one Kafka broker. It
// passes them to the tests in WALPOST_TEST_* variables, and runs `go test -race` in every module. If such a variable is set already, it
// uses that server. It sets WALPOST_TEST_REQUIRE=1, so that a test fails if a component is missing, and is not skipped. If a test is
// skipped nevertheless, the run fails, unless the test belongs to the long size: see package long.
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
	context.AfterFunc(ctx, stop) // a second signal ends this process at once
	err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		os.Exit(1)
	}
}

// run starts the servers, runs the tests, and always ends the servers.
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
