package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"walpost/internal/testenv/child"
)

// keeper keeps a relay running, as a service manager does: one that ends without having been told to is started again, and that is noted.
type keeper struct {
	home *child.Home
	spec child.Spec

	mu      sync.Mutex
	process *child.Process
	told    bool     // to end
	ended   []string // by itself: why
}

func newKeeper(home *child.Home, program, name string, env []string) (*keeper, error) {
	port, err := child.FreePort()
	if err != nil {
		return nil, err
	}
	return &keeper{home: home, spec: child.Spec{
		Path: program, Args: []string{"run", "--log-format", "text"},
		Env: append(env, "WALPOST_ADMIN_LISTEN="+child.Address(port)),
		Log: home.Path(name + ".log"), Death: syscall.SIGKILL,
	}}, nil
}

// start starts a relay; none may be running.
func (k *keeper) start() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.startLocked()
}

func (k *keeper) startLocked() error {
	p, err := k.home.Start(k.spec)
	if err != nil {
		return err
	}
	k.process, k.told = p, false
	go k.watch(p)
	return nil
}

// watch starts a relay again that ended by itself.
func (k *keeper) watch(p *child.Process) {
	<-p.Done()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.told || k.process != p {
		return
	}
	k.ended = append(k.ended, fmt.Sprintf("%s: the relay ended by itself: %v\n%s", time.Now().Format("15:04:05.000"), p.Err(), lastLines(k.spec.Log, 5)))
	if err := k.startLocked(); err != nil {
		k.ended = append(k.ended, err.Error())
	}
}

// signal sends a signal that the relay survives.
func (k *keeper) signal(s syscall.Signal) error { return k.current().Signal(s) }

// kill ends the relay by SIGKILL, even one that is stopped.
func (k *keeper) kill() {
	k.tell()
	k.current().Kill()
}

// stop asks the relay to end by SIGTERM; it has to, with exit code 0.
func (k *keeper) stop(ctx context.Context) error {
	k.tell()
	p := k.current()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		return fmt.Errorf("the relay after SIGTERM: %w\n%s", err, lastLines(k.spec.Log, 20))
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("the relay after SIGTERM: %w\n%s", err, lastLines(k.spec.Log, 20))
	}
	return nil
}

// leaving is how long a relay may take to leave: its own shutdown_timeout of 5 s, and what a session needs to end.
const leaving = 30 * time.Second

func (k *keeper) tell() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = true
}

func (k *keeper) current() *child.Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.process
}

// byItself tells how often, and why, relays ended without having been told to.
func (k *keeper) byItself() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ended
}

// memory is the relay's resident set in bytes; 0: it is not running.
func (k *keeper) memory() int64 {
	p := k.current()
	if p == nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.PID()))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func lastLines(path string, n int) string {
	lines := strings.Split(strings.TrimSpace(child.Tail(path)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
