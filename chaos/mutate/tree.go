package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"walpost/chaos/mutations"
	"walpost/internal/testenv/need"
)

// tree is a copy of the repository, for trying one mutation at a time.
type tree struct {
	root string
	env  []string // of the go command
}

// environment is what the go command gets besides the servers' addresses. The
// compiled packages contain no paths, so that all trees share the build cache.
// A test that has to fail does not wait for a minute.
var environment = []string{"GOFLAGS=-trimpath", need.PatienceVariable + "=20s"}

// copyRepository copies the tracked files of the repository that holds the
// working directory, n times. remove removes the copies, also after an error.
func copyRepository(ctx context.Context, n int) (trees []*tree, remove func() error, err error) {
	remove = func() error { return nil }
	root, files, err := tracked(ctx)
	if err != nil {
		return nil, remove, err
	}
	home, err := os.MkdirTemp("", "walpost-mutate-")
	if err != nil {
		return nil, remove, err
	}
	remove = func() error { return os.RemoveAll(home) }
	for i := range n {
		t := &tree{root: filepath.Join(home, fmt.Sprint(i))}
		for _, file := range files {
			if err := copyFile(filepath.Join(root, file), filepath.Join(t.root, file)); err != nil {
				return nil, remove, fmt.Errorf("copy the repository: %w", err)
			}
		}
		trees = append(trees, t)
	}
	return trees, remove, nil
}

// tracked returns the repository's root, and its files relative to that.
func tracked(ctx context.Context) (root string, files []string, err error) {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", nil, fmt.Errorf("find the repository's root by git: %w", err)
	}
	root = strings.TrimSpace(string(out))
	out, err = exec.CommandContext(ctx, "git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		return "", nil, fmt.Errorf("list the repository's files by git: %w", err)
	}
	return root, strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
}

// copyFile copies a file as it is in the working tree. It skips a tracked file
// that was removed there.
func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, info.Mode().Perm())
}

// mutate takes a guard out. restore puts it back.
func (t *tree) mutate(m mutations.Mutation) (restore func() error, err error) {
	path := filepath.Join(t.root, m.File)
	before, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(before, []byte(m.Old)); n != 1 {
		return nil, fmt.Errorf("the table is out of date: %s has this text %d times, not once:\n%s", m.File, n, m.Old)
	}
	after := bytes.Replace(before, []byte(m.Old), []byte(m.New), 1)
	if err := os.WriteFile(path, after, 0o644); err != nil {
		return nil, err
	}
	return func() error { return os.WriteFile(path, before, 0o644) }, nil
}

// command runs the go command in a folder of the tree. When ctx is done, it
// also ends the processes that the go command started.
func (t *tree) command(ctx context.Context, folder string, args ...string) (output string, err error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = filepath.Join(t.root, folder), t.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	return out.String(), err
}
