package inflight

import "testing"

func TestBudget(t *testing.T) {
	b := NewBudget(100)
	if !b.Admits(1000) {
		t.Error("an event larger than the budget is refused although nothing is in flight")
	}
	b.Take(1000)
	if b.Admits(1) {
		t.Error("an event is admitted beyond the budget")
	}
	b.give(950)
	if !b.Admits(50) || b.Admits(51) {
		t.Error("50 of 100 bytes are taken: 50 must fit and 51 must not")
	}
	select {
	case <-b.Freed:
	default:
		t.Error("no token after bytes were given back")
	}
	b.give(10)
	b.give(10) // two returns, one token: the reader looks again at all of them
	<-b.Freed
	select {
	case <-b.Freed:
		t.Error("a second token")
	default:
	}
}
