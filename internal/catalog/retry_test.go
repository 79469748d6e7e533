package catalog

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/schema"
)

// holding returns a connection whose open transaction has claimed an event, and a function that ends it.
func holding(t *testing.T, db *pgtest.DB) (conn *pgx.Conn, end func()) {
	t.Helper()
	conn = connect(t, db)
	execSQL(t, conn, "set application_name = 'slow consumer'; begin; select walpost.claim('stock', 'e1')")
	return conn, func() { execSQL(t, conn, "rollback") }
}

// It is no error if the lock is released before the last attempt.
func TestApplyTriesAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := connect(t, db)
	version1(t, conn)
	_, end := holding(t, db)
	pauses := 0
	err := applyWith(deadline(t), conn, schema.Options{}, patience{attempts: 3, wait: 50 * time.Millisecond, pause: func(context.Context) error {
		pauses++
		end()
		return nil
	}})
	if err != nil || pauses != 1 {
		t.Errorf("applied after %d pauses: %v, want it after 1", pauses, err)
	}
	cleanButForChecks(t, conn)
}

// If the lock is held for longer, the error names the session that holds it. Nothing is altered, not even in our session.
func TestApplySaysWhoHoldsTheLock(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		version1(t, conn)
		holder, end := holding(t, db)
		execSQL(t, conn, "set lock_timeout = '7s'")
		pauses := 0
		p := patience{attempts: 2, wait: time.Second, pause: func(context.Context) error { pauses++; return nil }}
		err := applyWith(deadline(t), conn, schema.Options{}, p)
		pid := holder.PgConn().PID()
		for _, want := range []string{
			"55P03", "table walpost.inbox", "tried 2 times", fmt.Sprintf("held by session %d, user ", pid), `application "slow consumer"`,
			`state "idle in transaction"`, "walpost.claim('stock', 'e1')", fmt.Sprintf("SELECT pg_terminate_backend(%d)", pid),
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want an error with %q", err, want)
			}
		}
		if got := queryOne[string](t, conn, "show lock_timeout"); got != "7s" || pauses != 1 {
			t.Errorf("lock_timeout is %s, want that of the session; %d pauses", got, pauses)
		}
		if v, err := Version(deadline(t), conn); err != nil || v != 1 {
			t.Errorf("the schema is version %d, %v", v, err)
		}
		end()
		mustApply(t, conn, schema.Options{})
		if got := queryOne[string](t, conn, "show lock_timeout"); got != "7s" {
			t.Errorf("after it was applied, lock_timeout is %s, want that of the session", got)
		}
	})
}

// apply also does not wait without end for tables that it only reads.
func TestApplyGivesUpOnReading(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn, holder := connect(t, db), connect(t, db)
	version1(t, conn)
	execSQL(t, conn, "set lock_timeout = '50s'")
	execSQL(t, holder, "begin; lock table walpost.inbox")
	began := time.Now()
	err := applyWith(deadline(t), conn, schema.Options{}, patience{attempts: 1, wait: 50 * time.Millisecond})
	if took := time.Since(began); sqlState(err) != "55P03" || took > 40*time.Second || !strings.Contains(err.Error(), "pg_blocking_pids(pid)") {
		t.Errorf("%v after %s, want that it waited too long for a lock, and how to find out for whom", err, took)
	}
}

// A prepared transaction has no session that could be ended, so the cure is different.
func TestApplyBehindAPreparedTransaction(t *testing.T) {
	w := blockerWatch{last: []blocker{{}}}
	if cure := w.cure(); !strings.Contains(cure, "pg_prepared_xacts") || strings.Contains(cure, "pg_terminate_backend") {
		t.Error(cure)
	}
}

// Another apply that does not end is named, as the holder of a table's lock is.
func TestApplyBehindAnother(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn, holder := connect(t, db), connect(t, db)
	execSQL(t, holder, fmt.Sprintf("begin; select pg_advisory_xact_lock(%d)", int64(lockKey)))
	p := patience{attempts: 2, wait: 500 * time.Millisecond, pause: func(context.Context) error { return nil }}
	err := applyWith(deadline(t), conn, schema.Options{}, p)
	for _, want := range []string{"wait for another schema apply", "55P03", fmt.Sprintf("held by session %d", holder.PgConn().PID())} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

// A pause ends if the context ends.
func TestApplyIsInterrupted(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := connect(t, db)
	version1(t, conn)
	holding(t, db)
	ctx, cancel := context.WithCancel(deadline(t))
	p := defaultPatience
	p.wait, p.pause = 50*time.Millisecond, func(ctx context.Context) error { cancel(); return defaultPatience.pause(ctx) }
	if err := applyWith(ctx, conn, schema.Options{}, p); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("%v, want that it was interrupted", err)
	}
}

// The printed script also gives up, even without a transaction around it. It does not change the session's lock_timeout, whether it
// succeeds or fails.
func TestScriptGivesUpOnALock(t *testing.T) {
	t.Parallel()
	for name, migrate := range ways {
		if name == "apply" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			conn := connect(t, db)
			version1(t, conn)
			_, end := holding(t, db)
			execSQL(t, conn, "set lock_timeout = '50s'") // the test's own deadline is a minute
			unchanged := func() {
				t.Helper()
				if got := queryOne[string](t, conn, "show lock_timeout"); got != "50s" {
					t.Errorf("lock_timeout is %s, want that of the session", got)
				}
			}
			began := time.Now()
			err := migrate(t, conn, schema.Options{})
			if took := time.Since(began); sqlState(err) != "55P03" || took > 40*time.Second {
				t.Errorf("%v after %s, want that it waited too long for a lock", err, took)
			}
			unchanged()
			end()
			execSQL(t, conn, "begin")
			if err := migrate(t, conn, schema.Options{}); err != nil {
				t.Fatal(err)
			}
			unchanged()
			execSQL(t, conn, "commit")
			unchanged()
			cleanButForChecks(t, conn)
		})
	}
}

// If there is nothing to do, the script does not wait for other users of the tables, and they do not wait for it.
func TestAgainTakesNoLock(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		o := withRoles(t, db, conn)
		mustApply(t, conn, o)
		_, end := holding(t, db)
		defer end()
		busy := connect(t, db)
		execSQL(t, busy, `begin; select walpost.publish('order', '1', 'x', '{}'); insert into walpost.dead_letters (slot, position, reason) values ('s', '0', 'x');
			insert into walpost.relay_state (slot, phase) values ('s', 'streaming')`)
		execSQL(t, conn, "set lock_timeout = '100ms'")
		for name, migrate := range ways {
			if name == "apply" {
				migrate = func(t *testing.T, conn *pgx.Conn, o schema.Options) error {
					return applyWith(deadline(t), conn, o, patience{attempts: 1, wait: 100 * time.Millisecond})
				}
			}
			if err := migrate(t, conn, o); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		execSQL(t, conn, schema.ChecksScript(o))
	})
}
