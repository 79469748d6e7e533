package parking

import (
	"testing"

	"walpost/internal/reason"
	"walpost/relay/internal/dbtest"
	"walpost/schema"
)

// A relay that no longer has the slot publishes nothing of what is given back, and changes nothing in the table.
func TestFenceOfRelease(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l}
	l.Serve(sink)
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	dbtest.Until(t, "the event is parked", func() bool { return l.acks.is(1) == 1 })
	l.Exec("update walpost.relay_state set holder = 'another'")
	l.Exec("update walpost.dead_letters set state = 'retrying'")
	dbtest.Until(t, "the parker has looked for it", func() bool { return l.Logs.Has("what is given back cannot be published") || sink.got() != "" })
	if got := sink.got(); got != "" {
		t.Errorf("published %q", got)
	}
	if state := l.Ask("select state from walpost.dead_letters"); state != "retrying" {
		t.Errorf("the dead letter is %s", state)
	}
}

// An event that is discarded is not published, also if what waits behind it is given back.
func TestDiscardedIsNotReleased(t *testing.T) {
	t.Parallel()
	l := park(t)
	sink := &testSink{l: l}
	l.Serve(sink)
	for n, value := range []string{"1", "2", "3"} {
		one := letter(uint64(n+1), "a", n == 0)
		one.Value = []byte(value)
		if n > 0 && l.Verdict("t", one.Key, one.At, one.Tx) != schema.Park {
			t.Fatal("a later event is not parked")
		}
		l.Park([]*schema.DeadLetter{one})
	}
	dbtest.Until(t, "the events are parked", func() bool { return l.acks.is(3) == 1 })
	l.Exec("update walpost.dead_letters set state = 'discarded' where value in ('1', '2')")
	l.Exec("update walpost.dead_letters set state = 'retrying' where value = '3'")
	dbtest.Until(t, "the last one is released", func() bool { return l.Ask("select state from walpost.dead_letters where value = '3'") == "released" })
	if got := sink.got(); got != "3" {
		t.Errorf("published %s", got)
	}
}

// Parking does not depend on default_transaction_read_only, which some people set for all roles but the application's.
func TestParkingWhereTransactionsAreReadOnly(t *testing.T) {
	t.Parallel()
	l := park(t)
	l.Exec("alter database " + schema.QuoteIdent(l.Ask("select current_database()")) + " set default_transaction_read_only = on")
	l.Park([]*schema.DeadLetter{letter(1, "a", true)})
	dbtest.Until(t, "the event is parked, or waits", func() bool { return l.acks.is(1) == 1 || l.Parked().Waits != "" })
	if w := l.Parked().Waits; w != "" {
		t.Error(w)
	}
	if code := l.Ask("select reason from walpost.dead_letters"); code != string(reason.MessageTooLarge) {
		t.Errorf("parked with reason %s", code)
	}
}
