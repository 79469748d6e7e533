package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// patience is how long the changes of a schema wait for locks. While one waits for the lock of a table, everybody who comes later and wants to
// use the table waits behind it. So each gives up soon, the transaction is rolled back, and all of it is done again after a pause.
type patience struct {
	attempts int
	wait     time.Duration                   // for a lock, in each attempt
	pause    func(ctx context.Context) error // between two attempts
}

// usual is the patience of [Apply]: at most some 20 seconds for one lock.
var usual = patience{attempts: 5, wait: 3 * time.Second, pause: func(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
		return nil
	}
}}

// try runs do until it meets no lock that it has to wait too long for. The last error says who held it. do gets whom to tell its
// backend's process id.
func (p patience) try(ctx context.Context, config *pgx.ConnConfig, do func(started func(pid int)) error) error {
	var w blockerWatch
	started := func(int) {} // the first attempt is not watched: that takes a connection, and hardly ever matters
	for n := 1; ; n++ {
		err := do(started)
		w.end()
		switch {
		case !waitedTooLong(err):
			return err
		case n == p.attempts:
			return fmt.Errorf("%w; tried %d times; %s", err, n, w.cure())
		}
		if err := p.pause(ctx); err != nil {
			return fmt.Errorf("wait for a lock: %w", err)
		}
		started = func(pid int) { w.begin(ctx, config, pid) }
	}
}

// waitedTooLong reports whether err is that of a lock that somebody else holds.
func waitedTooLong(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (refused.Code == "55P03" || refused.Code == "40P01") // lock_not_available, deadlock_detected
}

// blockerWatch looks, over a connection of its own, which sessions a backend waits for. Once the wait is over nobody can tell any more.
type blockerWatch struct {
	stop context.CancelFunc
	done chan struct{}
	last []blocker // the last that were seen
}

// blocker is a session that others wait for, or a prepared transaction.
type blocker struct {
	PID                   int // 0: a prepared transaction
	User, Application     string
	State, Since, Running string // NULL and so empty for whoever may not see it
}

// watchEvery is how often it looks.
const watchEvery = 100 * time.Millisecond

func (w *blockerWatch) begin(ctx context.Context, config *pgx.ConnConfig, pid int) {
	ctx, w.stop = context.WithCancel(ctx)
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		w.watch(ctx, config, pid)
	}()
}

// end ends the watch, if there is one. What was seen is there after it.
func (w *blockerWatch) end() {
	if w.stop != nil {
		w.stop()
		<-w.done
		w.stop = nil
	}
}

// watch returns when ctx ends or the server cannot be asked: then the cure says how a person can ask.
func (w *blockerWatch) watch(ctx context.Context, config *pgx.ConnConfig, pid int) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for tick := time.NewTicker(watchEvery); ; {
		rows, err := conn.Query(ctx, queryBlockers, pid)
		if err != nil {
			return
		}
		seen, err := pgx.CollectRows(rows, pgx.RowToStructByPos[blocker])
		if err != nil {
			return
		}
		if len(seen) > 0 {
			w.last = seen
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

const queryBlockers = `
select distinct on (b.pid) b.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), coalesce(a.state, ''),
  coalesce(pg_catalog.date_trunc('second', a.xact_start)::text, ''), coalesce(pg_catalog.left(a.query, 100), '')
from pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) b (pid) left join pg_catalog.pg_stat_activity a on a.pid = b.pid
order by b.pid`

// cure says who holds the lock and what can be done about it.
func (w *blockerWatch) cure() string {
	if len(w.last) == 0 {
		return "find who holds the lock while this waits, run: SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'; " +
			"end that transaction, and apply again"
	}
	var held, ends []string
	for _, b := range w.last {
		held = append(held, b.String())
		if b.PID == 0 {
			ends = append(ends, "COMMIT PREPARED or ROLLBACK PREPARED what SELECT * FROM pg_prepared_xacts shows")
		} else {
			ends = append(ends, fmt.Sprintf("SELECT pg_terminate_backend(%d)", b.PID))
		}
	}
	return fmt.Sprintf("the lock is held by %s; wait for the end of that transaction, or end it: %s; then apply again",
		strings.Join(held, ", and by "), strings.Join(ends, "; "))
}

// String describes the session by what is known of it.
func (b blocker) String() string {
	if b.PID == 0 {
		return "a prepared transaction"
	}
	s := fmt.Sprintf("session %d", b.PID)
	for _, known := range []struct{ name, value string }{
		{"user", b.User}, {"application", b.Application}, {"state", b.State}, {"transaction since", b.Since}, {"last query", b.Running},
	} {
		if known.value != "" {
			s += fmt.Sprintf(", %s %q", known.name, known.value)
		}
	}
	return s
}
