package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// Spec describes a process to run. The process runs as the home's user.
type Spec struct {
	Path string   // the program
	Args []string // its arguments, without its name
	Env  []string // its whole environment
	Dir  string   // its working folder; empty: the home's
	Log  string   // the file its output is appended to; empty: none
	// Death is the signal that ends the process quickly. It is sent at Close and when the starter dies.
	Death syscall.Signal
}

// Process is a running child, or one that has ended.
type Process struct {
	spec Spec
	pid  int
	done chan struct{}
	err  error // how the process ended; set before done is closed
	note string
}

// Start runs a process in the home.
func (h *Home) Start(spec Spec) (*Process, error) {
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Env, cmd.Dir = spec.Env, spec.Dir
	if cmd.Dir == "" {
		cmd.Dir = h.dir // the user may be unable to enter our own working folder
	}
	cmd.SysProcAttr = attributes(h.user, spec.Death)
	if spec.Log != "" {
		log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, err
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
	}
	p := &Process{spec: spec, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(cmd, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(spec.Path), err)
	}
	return p, h.register(p)
}

// run starts the process and waits for its end on one thread. Linux sends the death signal when the *thread* that started the process
// ends, and Go may end a thread at any time unless a goroutine is locked to it.
func (p *Process) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil
	p.err = cmd.Wait()
	close(p.done)
}

// register adds the process to the lists of Close and of the watcher.
func (h *Home) register(p *Process) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		p.end()
		return errors.New("start a process: its home is closed")
	}
	p.note = filepath.Join(h.pids(), strconv.Itoa(p.pid))
	if err := os.WriteFile(p.note, []byte(strconv.Itoa(int(p.spec.Death))), 0o600); err != nil {
		p.end()
		return err
	}
	go func() {
		<-p.done
		_ = os.Remove(p.note) // an error means that Close has removed it
	}()
	h.children = append(h.children, p)
	return nil
}

// Run runs a program in the home until it ends, and returns its output. An error contains the output, too.
func (h *Home) Run(ctx context.Context, path string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir = env, h.dir
	cmd.SysProcAttr = attributes(h.user, syscall.SIGKILL)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("run %s: %w\n%s", filepath.Base(path), err, out)
	}
	return string(out), nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.pid }

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err waits for the end of the process and returns how it ended: nil for exit code 0.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal. It returns an error if the process has ended.
func (p *Process) Signal(signal syscall.Signal) error {
	if !p.Running() {
		return fmt.Errorf("send %v to %s: it has ended", signal, filepath.Base(p.spec.Path))
	}
	return syscall.Kill(p.pid, signal)
}

// Wait waits for the end of the process, until ctx ends.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s (pid %d): %w", filepath.Base(p.spec.Path), p.pid, context.Cause(ctx))
	}
}

// Terminate sends SIGTERM, as a service manager does, and waits for the end of the process, until ctx ends. An exit code other than 0 is an
// error.
func (p *Process) Terminate(ctx context.Context) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return err
	}
	return p.Err()
}

// Kill ends the process and its children with SIGKILL, like a crash of the whole server, and waits for the end of the process. It finds the
// children on Linux only; elsewhere they notice by themselves that the process has ended.
func (p *Process) Kill() {
	if !p.Running() {
		return
	}
	// SIGSTOP first: otherwise the parent sees its children die and starts to clean up.
	_ = syscall.Kill(p.pid, syscall.SIGSTOP)
	for _, pid := range childrenOf(p.pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = syscall.Kill(p.pid, syscall.SIGKILL)
	<-p.done
}

// grace is how long a process may take to end after its death signal.
var grace = 10 * time.Second

// end ends the process with its death signal, and with SIGKILL if it does not end within grace. A frozen process is resumed first.
func (p *Process) end() {
	if !p.Running() {
		return
	}
	_ = syscall.Kill(p.pid, p.spec.Death)
	_ = syscall.Kill(p.pid, syscall.SIGCONT)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Kill()
	}
}
