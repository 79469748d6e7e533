package relay

import (
	"errors"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
	"walpost/relay/replication"
)

// TestMemoryIsBoundedWhateverTheTransaction: one transaction of any size and a slow sink take no more memory than the budget and the
// read buffer.
func TestMemoryIsBoundedWhateverTheTransaction(t *testing.T) {
	rows := 1_000_000
	if testing.Short() || raceEnabled {
		rows = 100_000
	}
	const budget = 1 << 20
	f := newFixture(t)
	f.sink.setAuto(false)
	f.sink.forget = true
	f.cfg.MaxInFlightBytes = budget
	r := f.start()
	f.Insert(rows)
	dbtest.Until(t, "the budget is used up", func() bool { return f.sink.holds() > budget-1024 })
	time.Sleep(100 * time.Millisecond) // nothing to wait for: nothing more may come
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	runtime.GC()
	var start, now runtime.MemStats
	runtime.ReadMemStats(&start)
	most := uint64(0)
	for acked, looks := 0, 0; acked < rows; looks++ {
		n := f.sink.ack(2000)
		if acked += n; n == 0 {
			time.Sleep(time.Millisecond)
		}
		if looks%10 > 0 {
			continue
		}
		if runtime.ReadMemStats(&now); now.HeapAlloc > start.HeapAlloc {
			most = max(most, now.HeapAlloc-start.HeapAlloc)
		}
	}
	t.Logf("%d rows, at most %d KiB more heap, %d KiB held", rows, most>>10, f.sink.most>>10)
	if f.sink.most > budget+4096 {
		t.Errorf("the sink held %d bytes, the budget is %d", f.sink.most, budget)
	}
	if most > 16<<20 {
		t.Errorf("the heap grew by %d bytes", most)
	}
	end := f.LSN("select pg_current_wal_flush_lsn()")
	dbtest.Until(t, "the slot follows", func() bool { return f.Confirmed() >= end })
	r.stop()
}

// TestRelayLargeEvent: an event larger than the budget and than the read buffer goes through, alone.
func TestRelayLargeEvent(t *testing.T) {
	f := newFixture(t)
	f.cfg.MaxInFlightBytes = 1 << 20
	r := f.start()
	f.Insert(1)
	f.Exec(`insert into walpost.outbox (aggregatetype, aggregateid, type, payload) values ('order', '1', 'large', to_jsonb(repeat('x', 5000000)))`)
	f.Insert(1)
	dbtest.Until(t, "3 events", func() bool { return f.sink.count() == 3 })
	r.stop()
	if got := len(f.sink.all()[1].payload); got != 5_000_002 {
		t.Errorf("payload of %d bytes", got)
	}
}

// TestRefusedEventIsNeverSkipped: what precedes a refused event in WAL order is acked and confirmed, nothing behind it is, and the relay
// ends with the reason and the cure.
func TestRefusedEventIsNeverSkipped(t *testing.T) {
	const bad = "00000000-0000-0000-0000-00000000000b"
	refuse := map[string]func(*running){
		"by Publish": func(r *running) { r.sink.refuse[bad] = true },
		"later":      func(r *running) { r.sink.reject = bad },
		"one of two": func(r *running) { r.sink.refuse[bad] = true },
	}
	for name, prepare := range refuse {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.sink.setAuto(false)
			r := f.start()
			prepare(r)
			f.Insert(1)
			f.Insert(2)
			precede := f.LSN("select pg_current_wal_insert_lsn()")
			f.Exec(`begin`)
			f.Insert(1)
			f.Exec(`insert into walpost.outbox (id, aggregatetype, aggregateid, type, payload) values ($1, 'order', '1', 'placed', '{}')`, bad)
			f.Exec(`commit`)
			f.Insert(1)
			dbtest.Until(t, "4 events", func() bool { return f.sink.count() >= 4 })
			if name == "one of two" {
				dbtest.Until(t, "the first refusal", func() bool { refused, _ := r.relay.tracker.Refusal(); return refused != nil })
				r.sink.acks.Rejected(f.sink.all()[3].tx, errors.New("another event of the transaction"))
			}
			select {
			case err := <-r.ended:
				t.Fatalf("the relay ended before the events in front were acked: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
			f.sink.setAuto(true)
			err := r.wait()
			if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "no topic") {
				t.Fatalf("ended with %v", err)
			}
			if got := f.Confirmed(); got > precede || got < precede-1024 {
				t.Errorf("the slot stands at %v, the event before the refused one ends at %v", got, precede)
			}
			// The cause is gone: all of the transaction comes again, and what is behind it.
			f.sink.refuse, f.sink.reject = map[string]bool{}, ""
			before := f.sink.count()
			r = f.start()
			dbtest.Until(t, "3 events", func() bool { return f.sink.count() == before+3 })
			r.stop()
			if got, want := f.sink.ids()[before:], f.IDs()[3:]; !slices.Equal(got, want) {
				t.Errorf("published %q again, want %q", got, want)
			}
		})
	}
}

// TestRefusedEventIsPassedBy: correcting or deleting the row does not change the WAL, so the relay names the statement that passes its
// transaction by, and nothing else: what stands behind it arrives.
func TestRefusedEventIsPassedBy(t *testing.T) {
	const bad = "00000000-0000-0000-0000-00000000000b"
	for name, c := range map[string]struct {
		prepare func(*told)
		removal bool // of the cause is thought of
	}{
		"by Publish, inside its transaction": {func(s *told) { s.refuse[bad], s.forGood = true, true }, false},
		"by Publish, for a setting":          {func(s *told) { s.refuse[bad] = true }, true},
		"later":                              {func(s *told) { s.reject = bad }, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			c.prepare(f.sink)
			r := f.start()
			f.Insert(1)
			f.Exec("begin")
			f.Exec(`insert into walpost.outbox (id, aggregatetype, aggregateid, type, payload) values ($1, 'order', '1', 'placed', '{}')`, bad)
			f.Insert(1)
			f.Exec("commit")
			f.Insert(2)
			err := r.wait()
			if err == nil || strings.Contains(err.Error(), "remove the cause and start walpost") != c.removal {
				t.Fatalf("ended with %v", err)
			}
			f.Exec("delete from walpost.outbox where id = $1", bad) // for nothing
			if again := f.launch().wait(); again == nil || !strings.Contains(again.Error(), bad) {
				t.Fatalf("ended again with %v", again)
			}
			pass := regexp.MustCompile(`SELECT pg_replication_slot_advance\([^)]*\)`).FindString(err.Error())
			if pass == "" {
				t.Fatalf("no way to pass it by: %v", err)
			}
			f.Exec(pass)
			before := f.sink.count()
			r = f.start()
			dbtest.Until(t, "what stands behind", func() bool { return f.sink.count() >= before+2 })
			r.stop()
			if got, want := f.sink.ids()[before:], f.IDs()[2:]; !slices.Equal(got, want) {
				t.Errorf("published %q then, want %q", got, want)
			}
		})
	}
}

// TestRelayShutdownTimeout: a stop in an outage ends in time, confirms nothing unacked, and the events come again.
func TestRelayShutdownTimeout(t *testing.T) {
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
	if !f.Logs.Has("leaving with events that are not acked") || !f.Logs.Has("events=2 ") {
		t.Error("it does not say how many events it leaves behind")
	}
	if got := f.Confirmed(); got > before && got >= f.LSN("select pg_current_wal_insert_lsn()") {
		t.Errorf("the slot went from %v to %v", before, got)
	}
	f.sink.setAuto(true)
	r = f.start()
	dbtest.Until(t, "the events again", func() bool { return f.sink.count() == 4 })
	r.stop()
}

// TestStopInsideATransactionConfirmsNothingOfIt: a stop inside a transaction that takes longer than leaving may gives up on it. A stream
// that was broken off is no transaction that has ended: nothing of it is confirmed, and it comes again from its beginning.
func TestStopInsideATransactionConfirmsNothingOfIt(t *testing.T) {
	f := newFixture(t)
	f.sink.setAuto(false)
	f.cfg.MaxInFlightBytes = 64 << 10
	f.cfg.ShutdownTimeout = 300 * time.Millisecond
	r := f.start()
	f.Insert(20_000)
	dbtest.Until(t, "the budget is used up", func() bool { return r.relay.State().Unacked > 0 && f.sink.count() > 300 })
	r.stop()
	if at, commit := f.Confirmed(), f.commitOf(0); at > commit {
		t.Errorf("the slot stands at %v, beyond the commit at %v of the transaction that was read by half", at, commit)
	}
	half := f.sink.count()
	f.sink.setAuto(true)
	r = f.start()
	r.await("all of it", func() bool { return f.sink.count() == half+20_000 })
	r.stop()
}
