// Package mutations lists the known ways in which relays lose, repeat or
// reorder events, or fall over, and for each of them the guard that keeps
// walpost from it, as a piece of its source, with what the source would be
// without the guard and the test that has to fail then.
//
// Command chaos/mutate takes the guards out, one by one, and runs the tests.
// The table is data, so that a page can be made of it.
package mutations

import "slices"

// Mode is a known failure: what some relay does to its users.
type Mode struct {
	ID      string // L1 to L12 lose events, D1 to D4 repeat them, O1 and O2 reorder them, A1 to A6 endanger the relay or its database
	Failure string
}

// Modes are the failures, in order.
var Modes = []Mode{
	{"L1", "a confirmed position is computed, from a length or by adding one, and overshoots the commit"},
	{"L2", "a restart skips rows whose WAL position is not beyond the last acknowledged row's"},
	{"L3", "several rows that share one WAL position, as those of a COPY do, count as one"},
	{"L4", "a keepalive or heartbeat is confirmed past events that are still on their way"},
	{"L5", "what was received is confirmed, and not what was published"},
	{"L6", "a batch that failed is dropped, and the next one that succeeds confirms past it"},
	{"L7", "a rollback to a savepoint inside a large transaction throws all of it away"},
	{"L8", "a stop in the middle of a transaction confirms all of it"},
	{"L9", "a row that cannot be decoded or delivered is skipped, and a later confirmation covers it"},
	{"L10", "a missing slot is made again at the present position, and nobody is told of the gap"},
	{"L11", "only the leader of a partition has to have an event when it is acknowledged"},
	{"L12", "one sequence of a producer id means two events, and the broker's success for the first counts for the second"},
	{"D1", "progress is confirmed so rarely that a crash repeats many seconds of events"},
	{"D2", "the last transaction comes again after every clean restart"},
	{"D3", "a retry after a lost answer is a second record"},
	{"D4", "an event has another id, or another position, each time it comes"},
	{"O1", "a batch that failed is sent again behind later ones of its partition"},
	{"O2", "an event's key does not decide its partition, or not as in Java's producers"},
	{"A1", "an outage of Kafka that is longer than wal_sender_timeout costs the session"},
	{"A2", "an idle outbox in a busy database keeps all of its WAL"},
	{"A3", "a stop is not heeded while data flows"},
	{"A4", "a lost connection to Postgres ends the process"},
	{"A5", "memory grows with the size of a transaction"},
	{"A6", "two goroutines write to the replication connection"},
}

// Mutation takes one guard out.
type Mutation struct {
	Mode     string // of [Modes]
	Prevents string // what walpost does instead of the failure, on one line
	Guard    string // what is taken out, on one line

	File     string // from the repository's root
	Old, New string // Old stands in File exactly once, and New takes its place

	// The test that has to fail then, by an assertion: in module and package,
	// folders from the repository's root and from the module's.
	Module, Package, Test string
}

// All are the mutations, by the order of their modes.
func All() []Mutation { return slices.Concat(losses, repeats, orders, lives) }

// Outcome is what came of a mutation.
type Outcome struct {
	Mutation
	Fell    bool    // the test failed by an assertion, as it has to
	How     string  // assertion; of one that did not fall so, what happened instead
	Said    string  // the first line that the failing test printed
	Seconds float64 // building and testing together
}
