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

	process   *child.Process // its present life
	ending    *atomic.Bool   // by our wish
	walsender int32          // its session's process in Postgres
}

// buildRelay builds the binary and writes its configuration, all that
// `walpost run` needs.
func buildRelay(ctx context.Context, home *child.Home, dsn string, brokers []string) (*relay, error) {
	r := &relay{home: home, binary: home.Path("walpost"), dsn: dsn}
	if err := program.Build(ctx, r.binary, "-buildvcs=false"); err != nil {
		return nil, fmt.Errorf("build the relay from the clone around this folder (`make demo` runs here): %w", err)
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

// environment is clean: a WALPOST_ or PG variable of the user's would win
// over the file.
func environment(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, more...)
}

// applySchema makes the schema walpost in a database, or a part of it.
func (r *relay) applySchema(ctx context.Context, dsn string, only ...string) error {
	_, err := r.home.Run(ctx, r.binary, environment("WALPOST_POSTGRES_URL="+dsn), append([]string{"schema", "apply"}, only...)...)
	return err
}

// start begins a life of the relay and returns when it streams. If it ends
// other than by kill or stop, that is a failure.
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
			fail(fmt.Errorf("the relay ended by itself: %w; its last words:\n%s", process.Err(), r.lastWords()))
		}
	}(r.process)
	return until(ctx, "the relay streams", func(ctx context.Context) (bool, error) {
		// The dead relay's session may still be there for a moment.
		active, err := query[int32](ctx, r.dsn,
			`select active_pid from pg_replication_slots where slot_name = 'walpost' and active_pid <> $1`, r.walsender)
		if len(active) == 0 {
			return false, err
		}
		r.walsender = active[0]
		return true, nil
	})
}

// kill ends the relay by SIGKILL.
func (r *relay) kill() {
	r.ending.Store(true)
	r.process.Kill()
}

// stop ends the relay as a service manager does, by SIGTERM, and demands the
// exit code 0.
func (r *relay) stop(ctx context.Context) error {
	r.ending.Store(true)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("SIGTERM was not heeded"))
	defer cancel()
	if err := r.process.Terminate(ctx); err != nil {
		return fmt.Errorf("the relay did not stop cleanly: %w; its last words:\n%s", err, r.lastWords())
	}
	return nil
}

// lastWords are the last lines of the relay's log.
func (r *relay) lastWords() string { return child.LastLines(r.home.Path("walpost.log"), 10) }
