package inflight

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/schema"
)

// TestRefusal: of several refused events the first in WAL order decides, whatever order they are told in.
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

// TestLoad: events that wait for an ack are told since when, counted anew from each ack.
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
