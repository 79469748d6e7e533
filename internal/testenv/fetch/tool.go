package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// patience limits one run of a package manager. A first run of Maven on a slow line and a busy machine takes minutes.
const patience = 5 * time.Minute

// tool runs a package manager in dir and returns its standard output. dir must not contain another project's files.
func tool(ctx context.Context, dir, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	// npm and mvn start other processes: end the whole group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("%s is not installed on this machine", name)
	case err != nil:
		return "", fmt.Errorf("run %s %s: %w\n%s%s", name, args[0], errors.Join(err, ctx.Err()), out.Bytes(), complaint.Bytes())
	}
	return out.String(), nil
}
