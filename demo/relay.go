package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/program"
)

// relay is walpost itself: the binary that users run, as its own process.
type relay struct {
	home   *child.Home
	binary string
	config string
	dsn    string

	process   *child.Process // the present run
	ending    *atomic.Bool   // the demo is ending that run
	walsender int32          // process id of its session's walsender
}

// buildRelay builds the binary and writes its configuration. `walpost run` needs
// nothing else.
func buildRelay(ctx context.Context, home *child.Home, dsn string, brokers []string) (*relay, error) {
	r := &relay{home: home, binary: home.Path("walpost"), dsn: dsn}
	if err := program.Build(ctx, r.binary, "-buildvcs=false"); err != nil {
		return nil, fmt.Errorf("build the relay from this repository (`make demo` runs in its clone): %w", err)
	}
	config := fmt.Sprintf(`
postgres:
  url: %s
kafka:
  bootstrap.servers: %s
admin:
  listen: ""
`, dsn, strings.Join(brokers, ","))
	var err error
	r.config, err = home.WriteFile("walpost.yaml", []byte(config))
	return r, err
}

// environment returns a clean environment: a WALPOST_ or PG variable of the user
// would override the file.
func environment(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, more...)
}

// applySchema creates schema walpost in a database, or a part of it.
func (r *relay) applySchema(ctx context.Context, dsn string, only ...string) error {
	_, err := r.home.Run(ctx, r.binary, environment("WALPOST_POSTGRES_URL="+dsn), append([]string{"schema", "apply"}, only...)...)
	return err
}

// start starts the relay and returns when it streams. If the relay ends without
// kill or stop, the demo fails.
func (r *relay) start(ctx context.Context, fail context.CancelCauseFunc) (err error) {
	ending := new(atomic.Bool)
	r.ending = ending
	r.process, err = r.home.Start(child.Spec{
		Path:  r.binary,
		Args:  []string{"run", "-c", r.config},
		Env:   environment(),
		Log:   r.home.Path("walpost.log"),
		Death: syscall.SIGKILL,
	})
	if err != nil {
		return err
	}
	go func(process *child.Process) {
		<-process.Done()
		if !ending.Load() {
			fail(fmt.Errorf("the relay ended by itself: %w; the end of its log:\n%s", process.Err(), r.logTail()))
		}
	}(r.process)
	return until(ctx, "the relay streams", func(ctx context.Context) (bool, error) {
		// The session of the dead relay may still exist for a moment.
		active, err := query[int32](ctx, r.dsn,
			`select active_pid from pg_replication_slots where slot_name = 'walpost' and active_pid <> $1`, r.walsender)
		if len(active) == 0 {
			return false, err
		}
		r.walsender = active[0]
		return true, nil
	})
}

// retry gives everything back that is parked, as an operator does.
func (r *relay) retry(ctx context.Context) error {
	_, err := r.home.Run(ctx, r.binary, environment(), "dead-letter", "retry", "--all", "-c", r.config)
	return err
}

// parked returns how many events are parked.
func (r *relay) parked(ctx context.Context) (int64, error) {
	n, err := query[int64](ctx, r.dsn, `select count(*) from walpost.dead_letters where state in ('head', 'waiting', 'retrying')`)
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// kill ends the relay by SIGKILL.
func (r *relay) kill() {
	r.ending.Store(true)
	r.process.Kill()
}

// stop ends the relay by SIGTERM, as a service manager does, and requires exit
// code 0.
func (r *relay) stop(ctx context.Context) error {
	r.ending.Store(true)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it does not end after SIGTERM"))
	defer cancel()
	if err := r.process.Terminate(ctx); err != nil {
		return fmt.Errorf("stop the relay: %w; the end of its log:\n%s", err, r.logTail())
	}
	return nil
}

// logTail returns the last lines of the relay's log.
func (r *relay) logTail() string { return child.LastLines(r.home.Path("walpost.log"), 10) }
