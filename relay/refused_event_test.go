package relay

import (
	"context"
	"errors"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"walpost/internal/reason"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// TestRefusedEventIsNeverSkipped: everything before an event that the sink rejects, in WAL order, is acked and confirmed, and nothing after
// it. The relay ends with the reason and the cure.
func TestRefusedEventIsNeverSkipped(t *testing.T) {
	t.Parallel()
	const bad = "00000000-0000-0000-0000-00000000000b"
	refuse := map[string]func(*running){
		"by Publish": func(r *running) { r.sink.refuse[bad] = true },
		"later":      func(r *running) { r.sink.reject = bad },
		"one of two": func(r *running) { r.sink.refuse[bad] = true },
	}
	for name, prepare := range refuse {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.cfg.Park = name == "later" // what the sink rejects although it parks, such as an event for one topic too many, stops the relay too
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
			if got := f.Confirmed(); got > precede || got <= f.commitOf(2) {
				t.Errorf("the slot stands at %v, the transaction before the refused one is committed at %v and ends before %v", got, f.commitOf(2), precede)
			}
			// The cause is removed: the whole transaction comes again, and then later events.
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

// TestRefusedEventIsPassedBy: correcting or deleting the row does not change the WAL. So the error has the statement that skips the
// transaction, and only that. Later events arrive.
func TestRefusedEventIsPassedBy(t *testing.T) {
	t.Parallel()
	const bad = "00000000-0000-0000-0000-00000000000b"
	for name, c := range map[string]struct {
		prepare func(*fakeSink)
		removal bool // the cure says that the cause can be removed
	}{
		"by Publish, inside its transaction": {func(s *fakeSink) { s.refuse[bad], s.forGood = true, true }, false},
		"by Publish, for a setting":          {func(s *fakeSink) { s.refuse[bad] = true }, true},
		"later":                              {func(s *fakeSink) { s.reject = bad }, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.cfg.Park = false
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
			f.Exec("delete from walpost.outbox where id = $1", bad) // does not help
			if again := f.launch().wait(); again == nil || !strings.Contains(again.Error(), bad) {
				t.Fatalf("ended again with %v", again)
			}
			pass := regexp.MustCompile(`SELECT pg_replication_slot_advance\([^)]*\)`).FindString(err.Error())
			if pass == "" {
				t.Fatalf("no statement that skips it: %v", err)
			}
			f.Exec(pass)
			before := f.sink.count()
			r = f.start()
			dbtest.Until(t, "the later events", func() bool { return f.sink.count() >= before+2 })
			r.stop()
			if got, want := f.sink.ids()[before:], f.IDs()[2:]; !slices.Equal(got, want) {
				t.Errorf("published %q then, want %q", got, want)
			}
		})
	}
}

// While events are parked, a relay that does not park does not begin: later events of their keys would come before them.
func TestParkedEventsAndHalt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.Park = false
	f.Exec("insert into walpost.dead_letters (slot, position, topic, key, reason, state) values ($1, $2, 't', 'a', 'x', 'waiting')", f.Slot, schema.Position{LSN: 1}.String())
	err := f.launch().wait()
	if !pgerror.IsPermanent(err) || pgerror.Reason(err) != reason.EventsParked || !strings.Contains(err.Error(), "1 events") || !strings.Contains(err.Error(), "park until") {
		t.Fatalf("ended with %v", err)
	}
	f.Exec("update walpost.dead_letters set state = 'discarded'")
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
}

// A relay that does not park still knows which events have a dead letter: a discarded event that Postgres delivers again is not published.
func TestDiscardedEventAndHalt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.Park = false
	at := schema.Position{Timeline: 1, LSN: 1 << 40} // Postgres delivers it in this session
	f.Exec("insert into walpost.dead_letters (slot, position, topic, key, reason, state) values ($1, $2, 't', 'a', 'x', 'discarded')", f.Slot, at.String())
	r := f.start()
	dbtest.Until(t, "the parker knows it", func() bool { return r.relay.parker.Sifting() })
	if v := r.relay.parker.Verdict("t", []byte("a"), at, 0); v != schema.Settle {
		t.Errorf("verdict %d", v)
	}
	r.stop()
}

// A relay that does not park does not begin either if another one has parked events after its first look, and before it has the slot.
func TestParkedEventsAndHaltAtTheSlot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.start().stop()
	f.cfg.Park = false
	f.cfg.OpenSink = func(ctx context.Context, acks Acks) (Sink, error) { // between the two
		if _, err := f.Conn.Exec(ctx, "insert into walpost.dead_letters (slot, position, topic, key, reason, state) values ($1, $2, 't', 'a', 'x', 'waiting')",
			f.Slot, schema.Position{LSN: 1}.String()); err != nil {
			return nil, err
		}
		return f.sink.open(ctx, acks)
	}
	if err := f.launch().wait(); pgerror.Reason(err) != reason.EventsParked {
		t.Errorf("ended with %v", err)
	}
}

// Each session has a word of its own, by which a relay that was frozen notices its successor. It has handed nothing to the sink when it begins.
func TestEachSessionHasItsWord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "the event is confirmed", func() bool { return f.sink.count() == 1 && f.Confirmed() > f.commitOf(0) })
	dbtest.Until(t, "the session knows that it has handed it to the sink", func() bool { return r.relay.handed.Load() > uint64(f.commitOf(0)) })
	r.relay.handed.Store(math.MaxUint64) // as if it were far ahead
	word := func() string { return f.Ask("select coalesce(holder, '') from walpost.relay_state") }
	before := word()
	f.kill()
	r.await("the next session has a word of its own", func() bool { now := word(); return now != before && now != "" }) // "": it has none yet
	if r.relay.handed.Load() == math.MaxUint64 {
		t.Error("the next session has handed everything to the sink, before it has begun")
	}
	r.stop()
}
