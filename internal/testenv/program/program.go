// Package program builds walpost and runs it as users do, as a process of its
// own, for commands and tests of nested modules.
//
// [Build] makes the binary, [Start] starts a relay whose admin server can be
// asked. What else is in its environment, and when it counts as running, is for
// the caller to decide; its end is that of any [child.Process].
package program

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds walpost into a file, by `go build` with flags. The working
// directory has to be inside one of the modules that lie directly below the
// repository's root. The compiler's own files are beside that file, and gone at
// the end; when ctx ends, go build is interrupted and takes them with it.
func Build(ctx context.Context, file string, flags ...string) error {
	return build(ctx, file, nil, flags...)
}

// BuildRelease is [Build] with what `make build` sets, for what is measured. A
// binary that links the C library takes more CPU and some MB more.
func BuildRelease(ctx context.Context, file string) error {
	return build(ctx, file, []string{"CGO_ENABLED=0"}, "-trimpath")
}

func build(ctx context.Context, file string, env []string, flags ...string) error {
	root, err := root(ctx)
	if err != nil {
		return err
	}
	args := append([]string{"build", "-C", root, "-o", file}, flags...)
	build := exec.CommandContext(ctx, "go", append(args, "./cmd/walpost")...)
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) }
	build.Env = append(append(os.Environ(), "GOTMPDIR="+filepath.Dir(file)), env...)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build walpost: %w\n%s", err, out)
	}
	return nil
}

// root is the folder of the module walpost.
func root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	module := filepath.Dir(strings.TrimSpace(string(out)))
	root := filepath.Dir(module)
	if _, err := os.Stat(filepath.Join(root, "cmd", "walpost")); err != nil {
		return "", fmt.Errorf("build walpost: run this inside a nested module of its repository, not in %s: %w", module, err)
	}
	return root, nil
}
