package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// findModules lists the folders below root that hold a go.mod, the root's
// own first. `go test ./...` at the root sees no nested module. tools/ holds
// no code; testdata and hidden folders are not ours to test.
func findModules(root string) ([]string, error) {
	var modules []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && skipped(entry.Name()):
			return filepath.SkipDir
		case entry.Name() == "go.mod":
			modules = append(modules, filepath.Dir(path))
		}
		return nil
	})
	if err == nil && !slices.Contains(modules, root) {
		err = errors.New("find go.mod: there is none here, run it in the repository's root")
	}
	slices.Sort(modules) // "." sorts before every name
	return modules, err
}

func skipped(folder string) bool {
	return folder == "tools" || folder == "testdata" || strings.HasPrefix(folder, ".")
}

// testModules runs the tests of each module, all of them whatever comes of
// the first, and says at the end how each went.
func testModules(ctx context.Context, modules, env, args []string) error {
	var summary strings.Builder
	failed := 0
	for _, module := range modules {
		began := time.Now()
		err := testModule(ctx, module, env, args)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		result := "ok"
		if err != nil {
			failed++
			result = "FAILED: " + err.Error()
		}
		fmt.Fprintf(&summary, "module %-28s %4.0f s  %s\n", module, time.Since(began).Seconds(), result)
	}
	fmt.Printf("\n%s", &summary)
	if failed > 0 {
		return fmt.Errorf("tests failed in %d of %d modules", failed, len(modules))
	}
	return nil
}

// testModule runs go test in one module. Vet is left to `make lint`: it
// shares nothing with a build for the race detector.
func testModule(ctx context.Context, module string, env, args []string) error {
	fmt.Printf("\ntests of module %s\n", module)
	args = append([]string{"test", "-race", "-vet=off", "-count=1", "./..."}, args...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = module, env
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// A group of its own, so that an interruption comes from here, once, to
	// the go command and the test programs alike.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}
