package inflight

import "testing"

// TestPass: transactions are numbered as the window numbers them, also those that begin in one pass and end in another.
func TestPass(t *testing.T) {
	tracker := NewTracker(NewBudget(100))
	var p Pass
	want := func(atHand uint64, open, empty bool) {
		t.Helper()
		if p.AtHand() != atHand || p.Open() != open || p.Empty() != empty {
			t.Errorf("at hand %d, open %v, empty %v; want %d, %v, %v", p.AtHand(), p.Open(), p.Empty(), atHand, open, empty)
		}
	}
	handOver := func(events, transactions int) {
		t.Helper()
		if e, n := tracker.HandOver(&p); e != events || n != transactions {
			t.Errorf("handed over %d events and %d transactions, want %d and %d", e, n, events, transactions)
		}
	}
	events := func(n int, first, last uint64) {
		t.Helper()
		if e, f, l := p.Events(); e != n || f != first || l != last {
			t.Errorf("%d events of transactions %d to %d; want %d, %d to %d", e, f, l, n, first, last)
		}
	}
	want(0, false, true)
	events(0, 0, 0)
	p.Begin(0x10, 0)
	if tx := p.Add(); tx != 0 {
		t.Errorf("the first event is of transaction %d", tx)
	}
	p.Seal(0x18)
	p.Begin(0x20, 0)
	want(1, true, false)
	events(1, 0, 0)
	handOver(1, 1)
	want(1, true, true)
	for range 2 {
		if tx := p.Add(); tx != 1 {
			t.Errorf("an event after the hand-over is of transaction %d", tx)
		}
	}
	p.Seal(0x28)
	want(2, false, false)
	events(2, 1, 1)
	p.Begin(0x30, 0)
	p.Seal(0x38)
	p.Begin(0x40, 0)
	p.Add()
	events(3, 1, 3)
	handOver(3, 2)
	handOver(0, 0)
	want(3, true, true)
}
