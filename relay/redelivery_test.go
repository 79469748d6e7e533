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
)

// TestInterleavedTransactionSurvivesARestart: rows that were written before the last confirmed transaction, and committed after it, arrive
// after a restart. The WAL position of a row does not say whether it was published.
func TestInterleavedTransactionSurvivesARestart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	early, err := pgx.Connect(t.Context(), f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close(context.Background())
	r := f.start()
	const event = "insert into walpost.outbox (aggregatetype, aggregateid, type, payload) values ('order', '1', 'placed', $1)"
	write := func(c *pgx.Conn, payload string) {
		t.Helper()
		if _, err := c.Exec(t.Context(), event, payload); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := early.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(early, "1")
	write(f.Conn, "2")
	r.await("the later transaction", func() bool { return f.sink.count() == 1 })
	r.stop()
	write(early, "3") // while nobody reads
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = f.start()
	write(f.Conn, "4")
	r.await("all events", func() bool { return slices.Contains(f.sink.payloads(), "4") })
	r.stop()
	if got, want := f.sink.payloads(), []string{"2", "1", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

// TestRowsOfOneCopyAreNotOnePosition: the rows of a COPY are in one WAL record and share its LSN. Yet each is an event with a number of its
// own, and a session that breaks in the middle of them loses none.
func TestRowsOfOneCopyAreNotOnePosition(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	// Volatile defaults would make Postgres write one record for each row.
	f.Exec("alter table walpost.outbox alter id drop default, alter created_at drop default")
	f.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", f.cfg.Slot+"_peek")
	f.sink.setAuto(false)
	r := f.start()
	const rows = 100
	columns := []string{"id", "aggregatetype", "aggregateid", "type", "payload", "created_at"}
	_, err := f.Conn.CopyFrom(t.Context(), pgx.Identifier{"walpost", "outbox"}, columns, pgx.CopyFromSlice(rows, func(i int) ([]any, error) {
		return []any{fmt.Sprintf("00000000-0000-4000-8000-%012d", i), "order", "1", "copied", i, time.Now()}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	var records int
	if err := f.Conn.QueryRow(t.Context(), `select count(distinct lsn) from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'walpost')
		where get_byte(data, 0) = ascii('I')`, f.cfg.Slot+"_peek").Scan(&records); err != nil {
		t.Fatal(err)
	}
	if records > rows/10 {
		t.Fatalf("%d rows are in %d records: the test shows nothing", rows, records)
	}
	r.await("all rows", func() bool { return f.sink.count() == rows })
	f.sink.ack(rows / 2)
	f.kill()
	f.sink.setAuto(true)
	r.await("all rows again", func() bool { return f.sink.count() == 2*rows })
	r.stop()
	want := f.IDs()
	if got := f.sink.ids(); !slices.Equal(got[:rows], want) || !slices.Equal(got[rows:], want) {
		t.Errorf("published %q, want the rows of the table twice", got)
	}
	seen := map[string]bool{}
	for _, e := range f.sink.all()[:rows] {
		if at := e.position.String(); seen[at] {
			t.Fatalf("two events with position %s", at)
		} else {
			seen[at] = true
		}
	}
}

// TestNothingComesAgainAfterACleanRestart: if the last event is acked while the relay is already stopping, the end of its transaction is
// confirmed. After a restart of the server that holds since Postgres 17, which saves confirmations at a clean shutdown.
func TestNothingComesAgainAfterACleanRestart(t *testing.T) {
	t.Parallel()
	t.Run("of the relay", func(t *testing.T) {
		f := newFixture(t)
		f.sink.setAuto(false)
		r := f.start()
		f.Insert(3)
		r.await("the events", func() bool { return f.sink.count() == 3 })
		r.cancel()
		// From here on no keepalive can confirm the transaction instead of its commit.
		dbtest.Until(t, "the relay waits for acks", func() bool { s := r.relay.watcher.watched(); return s != nil && s.confirmer.Holding() })
		f.sink.ack(3)
		if err := r.wait(); err != nil {
			t.Fatal(err)
		}
		f.comesOnce(4)
	})
	t.Run("of the server", func(t *testing.T) {
		server := pgtest.Start(t, pgtest.Options{Major: pgtest.NewestMajor})
		f := fixtureOn(t, server.DSN("postgres"))
		r := f.start()
		f.Insert(3)
		end := f.LSN("select pg_current_wal_flush_lsn()")
		r.await("the events are confirmed", func() bool { return f.sink.count() == 3 && f.Confirmed() >= end })
		if err := server.Stop(t.Context(), pgtest.Fast); err != nil {
			t.Fatal(err)
		}
		r.await("the relay waits", func() bool { return r.relay.State().Role == Waiting })
		r.stop()
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.Reconnect()
		f.comesOnce(4)
	})
}

// comesOnce starts a relay, inserts an event, and checks that it is the only new event. n is the number of all events.
func (f *fixture) comesOnce(n int) {
	f.T.Helper()
	f.sink.setAuto(true)
	r := f.start()
	f.Insert(1)
	end := f.LSN("select pg_current_wal_flush_lsn()")
	r.await("everything is confirmed", func() bool { return f.Confirmed() >= end })
	r.stop()
	if got, want := f.sink.ids(), f.IDs(); !slices.Equal(got, want) || len(got) != n {
		f.T.Errorf("published %q, want %q, each once", got, want)
	}
}

// TestRedeliveredEventsKeepTheirPositions: an event that comes again has the same id and position, by which consumers recognise it,
// although the new session begins elsewhere in the stream.
func TestRedeliveredEventsKeepTheirPositions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	r := f.start()
	f.Insert(1)
	r.await("1 event", func() bool { return f.sink.count() == 1 })
	f.sink.ack(1)
	first := f.commitOf(0)
	r.await("it is confirmed", func() bool { return f.Confirmed() > first })
	f.Insert(2)
	f.Insert(2)
	r.await("5 events", func() bool { return f.sink.count() == 5 })
	f.kill()
	f.sink.setAuto(true)
	r.await("4 events again", func() bool { return f.sink.count() == 9 })
	r.stop()
	events := f.sink.all()
	for i, again := range events[5:] {
		if before := events[1+i]; again.id != before.id || again.position != before.position {
			t.Errorf("event %s at %s came again as %s at %s", before.id, before.position, again.id, again.position)
		}
	}
}
