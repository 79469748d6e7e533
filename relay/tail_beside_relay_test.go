package relay

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"walpost/relay/internal/dbtest"
	"walpost/relay/tail"
	"walpost/schema"
)

// countingPrinter counts the events that it prints.
type countingPrinter struct{ pending, printed atomic.Int64 }

func (p *countingPrinter) Print(ev *schema.Event) error {
	if ev.Position.Timeline != 1 {
		return errors.New("without a timeline")
	}
	p.pending.Add(1)
	return nil
}

func (p *countingPrinter) Flush() error { p.printed.Store(p.pending.Load()); return nil }

// TestTailBesideRelay: a tail does not move the slot that a relay streams from, and takes no events from it.
func TestTailBesideRelay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	r := f.start()
	p := &countingPrinter{}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tail.Run(ctx, f.cfg.Config, p) }()
	dbtest.Until(t, "the tail streams", func() bool { return f.Logs.Has("printing what is committed") })
	f.Insert(3)
	dbtest.Until(t, "3 events twice", func() bool { return f.sink.count() == 3 && p.printed.Load() == 3 })
	commit := f.commitOf(0)
	dbtest.Until(t, "the tail confirms", func() bool {
		return f.LSN("select confirmed_flush_lsn from pg_replication_slots where temporary and database = current_database()") > commit
	})
	if got := f.Confirmed(); got > commit {
		t.Errorf("the relay's slot stands at %v, beyond unacked events at %v", got, commit)
	}
	end()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the tail ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the tail has not ended after 10s")
	}
	f.sink.ack(3)
	r.stop()
}
