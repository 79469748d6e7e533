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

// built is the folder of the binaries that the tests run.
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

// binary is walpost built as the tests themselves are: with the race
// detector when they are.
var binary = sync.OnceValues(func() (string, error) {
	if raceEnabled {
		path := filepath.Join(built, "walpost-race")
		return path, program.Build(context.Background(), path, "-race")
	}
	return plainBinary()
})

// plainBinary is walpost as users build it: for what is measured.
var plainBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(built, "walpost")
	return path, program.BuildRelease(context.Background(), path)
})
