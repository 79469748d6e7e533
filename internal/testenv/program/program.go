// Package program builds walpost and runs it as a separate process, as users do, for commands and tests of nested modules.
//
// [Build] builds the binary. [Start] starts a relay with an admin server. The caller decides about the rest of its environment, and when it
// counts as running. It ends like any [child.Process].
package program

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds walpost into a file, with `go build` and flags. The working directory has to be inside a module directly below the
// repository's root. The compiler's temporary files are in the folder of that file, and are removed at the end. If ctx ends, go build is
// interrupted and removes them, too.
func Build(ctx context.Context, file string, flags ...string) error {
	return build(ctx, file, nil, flags...)
}

// BuildRelease is like [Build], with the settings of `make build`, for measurements. A binary that links the C library would use more CPU
// and some MB more memory.
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

// root returns the folder of the module walpost.
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
