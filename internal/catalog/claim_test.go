package catalog

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/schema"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		mustApply(t, conn, schema.Options{})
		for _, c := range []struct {
			consumer, event string
			first           bool
		}{{"stock", "e1", true}, {"stock", "e1", false}, {"points", "e1", true}, {"stock", "e2", true}, {"stock", "e2", false}, {"", "", true}} {
			if got := queryOne[bool](t, conn, `select walpost.claim($1, $2)`, c.consumer, c.event); got != c.first {
				t.Errorf("claim(%s, %s) = %v, want %v", c.consumer, c.event, got, c.first)
			}
		}
		for _, c := range []struct {
			consumer, event, source string
			first                   bool
		}{{"stock", "e1", "", false}, {"stock", "e1", "/a", true}, {"stock", "e1", "/b", true}, {"stock", "e1", "/a", false}, {"stock", "/a", "e1", true}, {"stock", "e7", "", true}} {
			if got := queryOne[bool](t, conn, `select walpost.claim($1, $2, $3)`, c.consumer, c.event, c.source); got != c.first {
				t.Errorf("claim(%s, %s, %s) = %v, want %v", c.consumer, c.event, c.source, got, c.first)
			}
		}
		if queryOne[bool](t, conn, `select walpost.claim('stock', 'e7')`) {
			t.Error("two arguments do not mean the empty source")
		}
		if queryOne[bool](t, conn, `select walpost.claim(consumer => 'x', event_id => 'y') and walpost.claim('x', 'y')`) {
			t.Error("both claims of one statement are true")
		}
		refused(t, conn, "23502", `select walpost.claim(null, 'e')`)
		refused(t, conn, "23502", `select walpost.claim('c', null)`)
		refused(t, conn, "23502", `select walpost.claim('c', 'e', null)`)

		execSQL(t, conn, `begin; select walpost.claim('stock', 'e9'); rollback`)
		if !queryOne[bool](t, conn, `select walpost.claim('stock', 'e9')`) {
			t.Error("a claim that was rolled back counts")
		}
	})
}

// A claim waits for the transaction that has claimed the event, and succeeds if that one rolls back.
func TestConcurrentClaims(t *testing.T) {
	t.Parallel()
	const other = "select 1 from pg_class" // it takes the snapshot
	cases := []struct {
		isolation, before, end string
		claimed                bool
		code                   string
	}{
		{"read committed", other, "rollback", true, ""},
		{"read committed", other, "commit", false, ""},
		{"repeatable read", other, "rollback", true, ""},
		{"repeatable read", other, "commit", false, "40001"},
		{"repeatable read", "", "rollback", true, ""},
		{"repeatable read", "", "commit", false, "40001"},
		{"serializable", "", "commit", false, "40001"},
	}
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		holder, watcher := connect(t, db), connect(t, db)
		mustApply(t, holder, schema.Options{})
		for _, claim := range []string{"select walpost.claim('stock', 'e')", "select walpost.claim('stock', 'e', '/shop')"} {
			for _, c := range cases {
				name := claim + ", " + c.isolation + ", " + c.before + ", then " + c.end
				execSQL(t, holder, `truncate walpost.inbox`)
				execSQL(t, holder, "begin; "+claim)
				claimed, err := make(chan bool, 1), make(chan error, 1)
				waiter := connect(t, db)
				pid := waiter.PgConn().PID()
				ctx := deadline(t)
				execSQL(t, waiter, `begin isolation level `+c.isolation)
				execSQL(t, waiter, c.before)
				go func() {
					var ok bool
					e := waiter.QueryRow(ctx, claim).Scan(&ok)
					claimed <- ok
					err <- e
				}()
				waitForLock(t, watcher, pid)
				execSQL(t, holder, c.end)
				got, e := <-claimed, <-err
				execSQL(t, waiter, "rollback")
				if sqlState(e) != c.code || c.code == "" && e != nil || got != c.claimed {
					t.Errorf("%s: the one that waited got %v, %v, want %v, SQLSTATE %q", name, got, e, c.claimed, c.code)
				}
				if c.end == "commit" && queryOne[bool](t, waiter, claim) {
					t.Errorf("%s: the transaction that was run again has claimed the event too", name)
				}
			}
		}
	})
}

// Under repeatable read, a claim that was committed after the snapshot is an error even without waiting for it.
func TestClaimOutsideTheSnapshot(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	first, second := connect(t, db), connect(t, db)
	mustApply(t, first, schema.Options{})
	execSQL(t, second, "begin isolation level repeatable read; select 1 from pg_class")
	execSQL(t, first, "select walpost.claim('stock', 'e')")
	refused(t, second, "40001", "select walpost.claim('stock', 'e')")
}

// waitForLock returns when the backend waits for another transaction.
func waitForLock(t *testing.T, conn *pgx.Conn, pid uint32) {
	t.Helper()
	ctx := deadline(t)
	for waits := false; !waits; {
		err := conn.QueryRow(ctx, `select exists (select from pg_locks where pid = $1 and not granted)`, pid).Scan(&waits)
		if err != nil {
			t.Fatalf("wait for backend %d to wait: %v", pid, err)
		}
	}
}
