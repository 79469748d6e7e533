package relay

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/replication"
)

// TestRelay: rows arrive once, in commit order, and are confirmed. After a clean stop, a new start sends nothing twice.
func TestRelay(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
			r := f.start()
			f.Insert(3)
			f.Insert(1)
			dbtest.Until(t, "4 events", func() bool { return f.sink.count() == 4 })
			end := f.LSN("select pg_current_wal_flush_lsn()")
			dbtest.Until(t, "the slot follows", func() bool { return f.Confirmed() >= end })
			r.stop()
			f.Insert(2)
			r = f.start()
			dbtest.Until(t, "6 events", func() bool { return f.sink.count() == 6 })
			r.stop()
			f.start().stop()
			if got, want := f.sink.ids(), f.IDs(); !slices.Equal(got, want) {
				t.Errorf("published %q, want %q", got, want)
			}
			f.checkPositions()
		})
	}
}

// TestRelayTransactions: exactly the committed rows arrive, transaction by transaction.
func TestRelayTransactions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.start()
	other := func() *pgx.Conn {
		c, err := pgx.Connect(t.Context(), f.DSN)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(context.Background()) })
		return c
	}
	a, b := other(), other()
	run := func(c *pgx.Conn, statements ...string) {
		t.Helper()
		for _, sql := range statements {
			if _, err := c.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	event := func(name string) string {
		return "insert into walpost.outbox (aggregatetype, aggregateid, type, payload) values ('order', '1', '" + name + `', '"` + name + `"')`
	}
	// Interleaved: b began later and commits first.
	run(a, "begin", event("a1"))
	run(b, "begin", event("b1"))
	run(a, event("a2"))
	run(b, event("b2"), "commit")
	run(a, event("a3"), "commit")
	// Rolled back, wholly and in part.
	run(a, "begin", event("no"), "rollback")
	run(a, "begin", event("c1"), "savepoint s", event("no"), "rollback to s", event("c2"), "savepoint s", event("c3"), "release s", "commit")
	run(a, `do $$ begin `+event("d1")+`; begin `+event("no")+`; perform 1/0; exception when others then null; end; end $$`)
	// Inserted and deleted in one transaction; deleted later; truncated.
	run(a, "begin", event("e1"), "delete from walpost.outbox where type = 'e1'", "commit")
	run(a, event("f1"), "delete from walpost.outbox", "begin", event("g1"), "truncate walpost.outbox", "commit")
	if _, err := b.CopyFrom(t.Context(), pgx.Identifier{"walpost", "outbox"}, []string{"aggregatetype", "aggregateid", "type", "payload"},
		pgx.CopyFromRows([][]any{{"order", "1", "h1", `"h1"`}, {"order", "1", "h2", `"h2"`}, {"order", "1", "h3", `"h3"`}})); err != nil {
		t.Fatal(err)
	}
	// A transaction of another table only, and one that is prepared.
	run(a, "create table t (n int)", "insert into t values (1)", "begin", event("i1"), "prepare transaction '"+f.cfg.Slot+"'")
	run(a, event("j1"), "commit prepared '"+f.cfg.Slot+"'")

	want := []string{"b1", "b2", "a1", "a2", "a3", "c1", "c2", "c3", "d1", "e1", "f1", "g1", "h1", "h2", "h3", "j1", "i1"}
	dbtest.Until(t, "all events", func() bool { return f.sink.count() >= len(want) })
	r.stop()
	var got []string
	for _, e := range f.sink.all() {
		got = append(got, e.payload[1:len(e.payload)-1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	f.checkPositions()
}

// TestSlotNeverStandsBeyondAcks: the slot never stands beyond the acked transactions, whatever the order of acks.
func TestSlotNeverStandsBeyondAcks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	r := f.start()
	f.Insert(2)
	f.Insert(1)
	dbtest.Until(t, "3 events", func() bool { return f.sink.count() == 3 })
	// A slot that stands beyond the start of a transaction's commit record no longer sends it. That start is the position of the
	// transaction's events.
	first, second := f.commitOf(0), f.commitOf(2)
	f.Exec("create table busy (n int)")
	f.Exec("insert into busy select generate_series(1, 1000)")
	time.Sleep(3 * replication.StatusGap) // there is nothing to wait for: nothing may happen
	if got := f.Confirmed(); got > first {
		t.Fatalf("the slot stands at %v without an ack, beyond the first commit at %v", got, first)
	}
	f.sink.ack(1)
	time.Sleep(3 * replication.StatusGap)
	if got := f.Confirmed(); got > first {
		t.Fatalf("the slot stands at %v by the ack of half a transaction, beyond its commit at %v", got, first)
	}
	f.sink.ack(1)
	dbtest.Until(t, "the first transaction is confirmed", func() bool { return f.Confirmed() > first })
	if got := f.Confirmed(); got > second {
		t.Fatalf("the slot stands at %v, beyond the unacked second transaction's commit at %v", got, second)
	}
	f.sink.ack(1)
	dbtest.Until(t, "all is confirmed", func() bool { return f.Confirmed() > second })
	r.stop()
}

// TestIdleOutboxPinsNoWAL: an idle outbox does not keep WAL, neither in a busy database nor beside another busy one.
func TestIdleOutboxPinsNoWAL(t *testing.T) {
	t.Parallel()
	for _, major := range []int{0, 14} { // 14 also sends a begin and a commit for every foreign transaction
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) { idle(t, major) })
	}
}

func idle(t *testing.T, major int) {
	f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
	r := f.start()
	beside, err := pgx.Connect(t.Context(), pgtest.NewMajor(t, major).DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close(context.Background())
	busy := func(name string, c *pgx.Conn) {
		t.Helper()
		if _, err := c.Exec(t.Context(), "create table busy as select n, repeat('x', 200) from generate_series(1, 20000) n; drop table busy"); err != nil {
			t.Fatal(err)
		}
		end := f.LSN("select pg_current_wal_flush_lsn()")
		dbtest.Until(t, "the slot follows in "+name, func() bool { return f.Confirmed()+1<<20 >= end })
	}
	busy("the same database, before any event", f.Conn)
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	busy("the same database", f.Conn)
	busy("another database", beside)
	r.stop()
}
