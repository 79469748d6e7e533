// Package mutations lists the known ways in which relays lose, repeat or
// reorder events, or endanger themselves or the database. For each of them it
// has the guard that prevents it in walpost: the source text of the guard, the
// text that the source would have without it, and the test that has to fail
// then.
//
// Command chaos/mutate takes the guards out, one at a time, and runs the tests.
// The table is data, so that docs/guarantees.md can be made from it.
package mutations

import "slices"

// Mode is a known failure of some relay.
type Mode struct {
	ID      string // L1 to L12 lose events, D1 to D5 repeat them, O1 and O2 reorder them, A1 to A7 endanger the relay or its database
	Failure string
}

// Modes are the failures, in order.
var Modes = []Mode{
	{"L1", "a confirmed position is computed, from a length or by adding one, and overshoots the commit"},
	{"L2", "a restart skips rows whose WAL position is not beyond the last acknowledged row's"},
	{"L3", "several rows that share one WAL position, as those of a COPY do, count as one"},
	{"L4", "a keepalive or heartbeat is confirmed past events that are still in flight"},
	{"L5", "events are confirmed when they are received, and not when they are published"},
	{"L6", "a batch that failed is dropped, and the next one that succeeds confirms past it"},
	{"L7", "a rollback to a savepoint inside a large transaction discards the whole transaction"},
	{"L8", "a stop in the middle of a transaction confirms all of it"},
	{"L9", "a row that cannot be decoded or delivered is skipped, and a later confirmation covers it"},
	{"L10", "a missing slot is created again at the current position, and the gap is not reported"},
	{"L11", "an event counts as acknowledged when only the leader of its partition has it"},
	{"L12", "one sequence of a producer id means two events, and the broker's success for the first counts for the second"},
	{"D1", "progress is confirmed so rarely that a crash repeats the events of many seconds"},
	{"D2", "the last transaction is delivered again after every clean restart"},
	{"D3", "a retry after a lost answer makes a second record"},
	{"D4", "an event has another id, or another position, in each delivery"},
	{"D5", "an event that was parked is published or parked a second time"},
	{"O1", "a batch that failed is sent again after later ones of its partition"},
	{"O2", "an event's key does not decide its partition, or not as in Java's producers"},
	{"A1", "an outage of Kafka that is longer than wal_sender_timeout ends the session"},
	{"A2", "an idle outbox in a busy database keeps all of its WAL"},
	{"A3", "a relay does not stop while data flows"},
	{"A4", "a lost connection to Postgres ends the process"},
	{"A5", "memory grows with the size of a transaction"},
	{"A6", "two goroutines write to the replication connection"},
	{"A7", "a topic that takes no records stops all others, or is parked although it should not be"},
}

// Mutation takes one guard out.
type Mutation struct {
	Mode     string // of [Modes]
	Prevents string // what walpost does, so that the failure does not happen, on one line
	Guard    string // the guard that is taken out, on one line

	File     string // from the repository's root
	Old, New string // Old is in File exactly once, and New replaces it

	// The test that has to fail then, by an assertion: in module and package,
	// folders from the repository's root and from the module's.
	Module, Package, Test string
}

// All returns the mutations, in the order of their modes.
func All() []Mutation {
	order := make(map[string]int, len(Modes))
	for i, m := range Modes {
		order[m.ID] = i
	}
	return slices.SortedStableFunc(slices.Values(slices.Concat(losses, repeats, orders, lives, topics)), func(a, b Mutation) int { return order[a.Mode] - order[b.Mode] })
}

// Outcome is the result of a mutation.
type Outcome struct {
	Mutation
	Fell    bool    // the test failed by an assertion, as it has to
	How     string  // assertion, or what happened instead
	Said    string  // the first line that the failing test printed
	Seconds float64 // for building and testing together
}
