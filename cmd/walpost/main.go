// Command walpost carries committed rows of an outbox table in Postgres to Kafka.
//
// This package is the composition root: the only place that knows every other package. It also has the tree of commands, with a file for
// each command. It builds the parts from the configuration, handles signals and chooses the exit code. Each part documents its own
// promises: relay, sink, schema, and below internal/ the configuration, the admin server, its report and its client.
package main

import (
	"context"
	"io"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program. It writes data to stdout and everything else to stderr, and returns the exit code. Cancelling ctx has the same effect
// as a first SIGTERM.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return newApp(stdin, stdout, stderr).execute(ctx, args)
}
