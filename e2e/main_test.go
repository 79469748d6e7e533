package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"walpost/internal/testenv/program"
)

// built is the folder with the binaries that the tests run.
var built string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "walpost-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built = dir
	return m.Run()
}

// binary returns a walpost binary that is built like the tests: with the race
// detector if they have it.
var binary = sync.OnceValues(func() (string, error) {
	if raceEnabled {
		path := filepath.Join(built, "walpost-race")
		return path, program.Build(context.Background(), path, "-race")
	}
	return plainBinary()
})

// plainBinary returns a walpost binary as users build it, for measurements.
var plainBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(built, "walpost")
	return path, program.BuildRelease(context.Background(), path)
})
