// Package inflight keeps track of the events that were received from a replication slot and not yet acked, and so of the position that may
// be confirmed to Postgres.
//
//	reader ──Pass──▶ Tracker ──Confirmed──▶ confirmer
//	                   ▲
//	                   └── Acked, Rejected ── sink
//
// [Tracker] combines the parts. The window, behind the tracker's lock, has the transactions in WAL order, each with the number of its
// unacked events. [Pass] collects the events of one read, so that they are added to the window under one lock, before the sink may send any
// of them. [Budget] limits the bytes that the sink holds: it is the only backpressure.
//
// It guarantees: [Tracker.Confirmed] is the end of the last transaction such that it and all transactions before it are sealed and fully
// acked, or a later position that the server sent while nothing was outstanding. It is always a position that the server has sent. It never
// falls within a session, and an ack out of order does not move it. Memory does not grow with the number of acked transactions behind an
// unacked one. An ack of events that were never handed over, or were acked before, causes a panic.
//
// It leaves to its caller: to hand a pass over before the sink is flushed, to ask the budget before each event, and to begin a new session
// with [Tracker.Restart] only when the sink holds no events of the old one. It does no I/O, and knows neither Postgres nor Kafka.
package inflight
