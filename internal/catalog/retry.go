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

// patience says how long a change of the schema waits for locks. While it waits for the lock of a table, every later query on that table
// waits behind it. So each attempt gives up soon and rolls back its transaction, and after a pause the next attempt starts from the
// beginning.
type patience struct {
	attempts int
	wait     time.Duration                   // for a lock, in each attempt
	pause    func(ctx context.Context) error // between two attempts
}

// defaultPatience is the patience of [Apply]: about 20 seconds at most for one lock.
var defaultPatience = patience{attempts: 5, wait: 3 * time.Second, pause: func(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
		return nil
	}
}}

// try runs do again until it does not wait too long for a lock. The error of the last attempt says which sessions hold the lock. do must
// call started with the process id of its backend.
func (p patience) try(ctx context.Context, config *pgx.ConnConfig, do func(started func(pid int)) error) error {
	var w blockerWatch
	started := func(int) {} // the first attempt is not watched: watching takes a connection, and the first attempt hardly ever fails
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

// waitedTooLong reports whether err means that another session held a lock for too long.
func waitedTooLong(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (refused.Code == "55P03" || refused.Code == "40P01") // lock_not_available, deadlock_detected
}

// blockerWatch finds out, over a connection of its own, for which sessions a backend waits. It does so during the wait, because the server
// does not know it afterwards.
type blockerWatch struct {
	stop context.CancelFunc
	done chan struct{}
	last []blocker // the blockers that were seen last
}

// blocker is a session that others wait for, or a prepared transaction.
type blocker struct {
	PID                   int // 0: a prepared transaction
	User, Application     string
	State, Since, Running string // empty if the role may not see it
}

// watchEvery is the time between two queries of a blockerWatch.
const watchEvery = 100 * time.Millisecond

func (w *blockerWatch) begin(ctx context.Context, config *pgx.ConnConfig, pid int) {
	ctx, w.stop = context.WithCancel(ctx)
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		w.watch(ctx, config, pid)
	}()
}

// end ends the watch, if there is one. After that, w.last can be read.
func (w *blockerWatch) end() {
	if w.stop != nil {
		w.stop()
		<-w.done
		w.stop = nil
	}
}

// watch returns when ctx ends, or when it cannot ask the server. In the second case, cure says how a person can ask.
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

// cure returns which sessions hold the lock and what to do about it.
func (w *blockerWatch) cure() string {
	if len(w.last) == 0 {
		return "find the session that holds the lock, while this command waits; run: SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'; " +
			"end its transaction, and apply again"
	}
	var held, ends []string
	for _, b := range w.last {
		held = append(held, b.String())
		if b.PID == 0 {
			ends = append(ends, "COMMIT PREPARED or ROLLBACK PREPARED the transaction that SELECT * FROM pg_prepared_xacts shows")
		} else {
			ends = append(ends, fmt.Sprintf("SELECT pg_terminate_backend(%d)", b.PID))
		}
	}
	return fmt.Sprintf("the lock is held by %s; wait for the end of that transaction, or end it: %s; then apply again",
		strings.Join(held, ", and by "), strings.Join(ends, "; "))
}

// String describes the session with everything that is known about it.
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
