package inflight

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/schema"
)

// TestRefusal: of several refused events the first in WAL order decides, whatever the order of the refusals.
func TestRefusal(t *testing.T) {
	f := NewTracker(NewBudget(1))
	var p Pass
	for i := range 3 {
		p.Begin(0, 0)
		p.Add()
		p.Seal(pglogrepl.LSN(0x10 * (i + 1)))
	}
	f.HandOver(&p)
	for _, tx := range []uint64{2, 1, 2} {
		f.Rejected(tx, fmt.Errorf("event of transaction %d", tx))
	}
	if r, alone := f.Refusal(); r.Tx != 1 || alone {
		t.Errorf("refused transaction %d, alone %v", r.Tx, alone)
	}
	f.Acked([]schema.Run{{Tx: 0, Rows: 1}}, 0)
	if r, alone := f.Refusal(); r.Tx != 1 || !alone {
		t.Errorf("refused transaction %d, alone %v", r.Tx, alone)
	}
}

// TestLoad: Waiting says since when events wait for an ack. Each ack sets it again.
func TestLoad(t *testing.T) {
	f := NewTracker(NewBudget(100))
	var p Pass
	if l := f.Load(); !l.Waiting.IsZero() || l.Unacked != 0 {
		t.Errorf("at first: %+v", l)
	}
	p.Begin(0, time.Now().Add(-time.Hour).UnixMicro())
	p.Add()
	p.Add()
	f.HandOver(&p)
	first := f.Load()
	if first.Waiting.IsZero() || first.Unacked != 2 || time.Since(first.Oldest) < time.Hour {
		t.Errorf("two events: %+v", first)
	}
	f.Acked([]schema.Run{{Tx: 0, Rows: 1}}, 10)
	if second := f.Load(); !second.Waiting.After(first.Waiting) || second.Unacked != 1 {
		t.Errorf("after an ack: %+v", second)
	}
	f.Acked([]schema.Run{{Tx: 0, Rows: 1}}, 10)
	if l := f.Load(); !l.Waiting.IsZero() || l.Unacked != 0 {
		t.Errorf("at the end: %+v", l)
	}
}

// TestBeyond: to skip a transaction, the slot advances to the end of its commit, or, while that is unknown, just beyond the start of its
// commit record.
func TestBeyond(t *testing.T) {
	f := NewTracker(NewBudget(100))
	var p Pass
	for _, final := range []pglogrepl.LSN{0x10, 0x20, 0x30} {
		p.Begin(final, 0)
		p.Add()
		if final != 0x30 {
			p.Seal(final + 8)
		}
	}
	f.HandOver(&p)
	f.Acked([]schema.Run{{Tx: 0, Rows: 1}}, 0)
	for tx, want := range []pglogrepl.LSN{0, 0x28, 0x31, 0} {
		if got := f.Beyond(uint64(tx)); got != want {
			t.Errorf("transaction %d: %v, want %v", tx, got, want)
		}
	}
}

// TestRestart: a new session keeps only a refusal of the old one, and may not begin while the sink holds events of the old one.
func TestRestart(t *testing.T) {
	f := NewTracker(NewBudget(100))
	var p Pass
	p.Begin(0, 7)
	p.Add()
	p.Seal(0x10)
	f.HandOver(&p)
	if !panics(func() { f.Restart(func() {}) }) {
		t.Error("no panic with an unacked event")
	}
	f.Acked([]schema.Run{{Tx: 0, Rows: 1}}, 0)
	refused := 0
	f.Restart(func() { refused++ })
	if lsn, commit := f.Confirmed(); lsn != 0 || commit != 0 || refused != 0 {
		t.Errorf("a new session: confirmed %v, commit time %d, %d refusals", lsn, commit, refused)
	}
	f.Rejected(0, errors.New("no topic takes it"))
	f.Restart(func() { refused++ })
	if refused != 2 {
		t.Errorf("told %d times of a refusal, want once in each session", refused)
	}
}
