package inflight

import "testing"

func TestBudget(t *testing.T) {
	b, pass := NewBudget(100), new(Pass)
	tracker := NewTracker(b)
	if !b.Admits(pass, 1000) {
		t.Error("an event larger than the budget is refused although nothing is in flight")
	}
	pass.Hold(1000)
	if b.Admits(pass, 1) {
		t.Error("an event is admitted beyond what its pass holds")
	}
	tracker.HandOver(pass)
	if b.Used() != 1000 || b.Admits(pass, 1) {
		t.Error("an event is admitted beyond the budget")
	}
	b.give(950)
	if !b.Admits(pass, 50) || b.Admits(pass, 51) {
		t.Error("50 of 100 bytes are taken: 50 must fit and 51 must not")
	}
	pass.Hold(30)
	if !b.Admits(pass, 20) || b.Admits(pass, 21) {
		t.Error("80 of 100 bytes are taken: 20 must fit and 21 must not")
	}
	select {
	case <-b.Freed:
	default:
		t.Error("no token after bytes were given back")
	}
	b.give(10)
	b.give(10) // bytes given back twice, one token: the reader then sees all of them
	<-b.Freed
	select {
	case <-b.Freed:
		t.Error("a second token")
	default:
	}
}
