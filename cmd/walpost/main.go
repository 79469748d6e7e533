// Command walpost carries committed rows of an outbox table in Postgres to Kafka.
//
// This package is the composition root, the only place that knows every other package, and the tree of verbs, a file for each. It builds
// the parts from the configuration, takes signals and chooses the exit code. What the parts promise is said in their packages: relay, sink,
// schema, and below internal/ the configuration, the admin server, its report and its client.
package main

import (
	"context"
	"io"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: data goes to stdout, all else to stderr, and the exit code is returned. The end of ctx is what a first SIGTERM is.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return newApp(stdin, stdout, stderr).execute(ctx, args)
}
