package relay

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"walpost/relay/internal/dbtest"
	"walpost/relay/replication"
)

// TestRelayCleanStops stops and starts relays under load. Each row arrives once, because a stopping relay finishes the current transaction.
func TestRelayCleanStops(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			c, err := pgx.Connect(context.Background(), f.DSN)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close(context.Background())
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.Exec(context.Background(), `insert into walpost.outbox (aggregatetype, aggregateid, type, payload)
					select 'order', g::text, 'placed', '{}' from generate_series(1, $1) g`, 1+i%50*20); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		n := f.sink.count()
		r := f.start()
		dbtest.Until(t, "events", func() bool { return f.sink.count() > n+500 })
		r.stop()
	}
	close(stop)
	writers.Wait()
	r := f.start()
	total := len(f.IDs())
	dbtest.Until(t, "all events", func() bool { return f.sink.count() >= total })
	r.stop()
	seen := map[string]bool{}
	for i, id := range f.sink.ids() {
		if seen[id] {
			t.Fatalf("event %d of %d came twice", i, f.sink.count())
		}
		seen[id] = true
	}
	if len(seen) != total {
		t.Errorf("%d of %d events", len(seen), total)
	}
	f.checkPositions()
}

// TestRelayShutdownTimeout: a stop during an outage ends in time and confirms no unacked event. The events come again.
func TestRelayShutdownTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	f.cfg.ShutdownTimeout = 300 * time.Millisecond
	r := f.start()
	before := f.Confirmed()
	f.Insert(2)
	dbtest.Until(t, "2 events", func() bool { return f.sink.count() == 2 })
	begun := time.Now()
	r.stop()
	if took := time.Since(begun); took < f.cfg.ShutdownTimeout || took > f.cfg.ShutdownTimeout+replication.DrainLimit {
		t.Errorf("the stop took %v", took)
	}
	if !f.Logs.Has("stopping with events that are not acked") || !f.Logs.Has("events=2 ") {
		t.Error("the log does not say how many events are unacked")
	}
	if got := f.Confirmed(); got > before && got >= f.LSN("select pg_current_wal_insert_lsn()") {
		t.Errorf("the slot went from %v to %v", before, got)
	}
	f.sink.setAuto(true)
	r = f.start()
	dbtest.Until(t, "the events again", func() bool { return f.sink.count() == 4 })
	r.stop()
}

// TestStopIsBounded: if the server accepts no record of the stop and does not end the stream, a stop waits DrainLimit, for both together.
func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	network := f.behindProxy()
	r := f.start()
	f.Exec("begin")
	f.Exec("lock table walpost.relay_state in access exclusive mode")
	network.Stall(true, true)
	begun := time.Now()
	r.stop()
	if took := time.Since(begun); took > replication.DrainLimit+2*time.Second {
		t.Errorf("the stop took %v", took)
	}
	f.Exec("rollback")
}

// TestStopInsideATransactionConfirmsNothingOfIt: if a transaction takes longer than ShutdownTimeout, a stop breaks it off. The end of the
// stream is not the end of the transaction: nothing of it is confirmed, and it comes again from its beginning.
func TestStopInsideATransactionConfirmsNothingOfIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	f.cfg.MaxInFlightBytes = 64 << 10
	f.cfg.ShutdownTimeout = 300 * time.Millisecond
	r := f.start()
	f.Insert(20_000)
	dbtest.Until(t, "the budget is used up", func() bool { return r.relay.State().Unacked > 0 && f.sink.count() > 300 })
	r.stop()
	if at, commit := f.Confirmed(), f.commitOf(0); at > commit {
		t.Errorf("the slot stands at %v, beyond the commit at %v of the transaction that was half read", at, commit)
	}
	half := f.sink.count()
	f.sink.setAuto(true)
	r = f.start()
	r.await("all of it", func() bool { return f.sink.count() == half+20_000 })
	r.stop()
}

// TestCleanStopIsRecorded: when a relay stops, it records the position and the commit time of the last confirmation, and that the stop was
// clean.
func TestCleanStopIsRecorded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
	var lsn string
	var at time.Time
	var clean bool
	if err := f.Conn.QueryRow(t.Context(), "select confirmed_lsn::text, confirmed_commit_time, clean_stop from walpost.relay_state where slot = $1", f.cfg.Slot).
		Scan(&lsn, &at, &clean); err != nil {
		t.Fatal(err)
	}
	if got, _ := pglogrepl.ParseLSN(lsn); got != f.Confirmed() || !clean || time.Since(at) > time.Minute {
		t.Errorf("after a clean stop: confirmed %s at %v, clean %v; the slot stands at %v", lsn, at, clean, f.Confirmed())
	}
}
