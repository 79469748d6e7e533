// Package inflight knows what has been received from a replication slot and not yet been acked, and so how far Postgres may be told to
// forget.
//
//	reader ──Pass──▶ Tracker ──Confirmed──▶ confirmer
//	                   ▲
//	                   └── Acked, Rejected ── sink
//
// [Tracker] joins three parts behind one lock. The window has the transactions in WAL order, each with the number of its unacked events.
// [Pass] collects what one read brought, so that the window learns of it under one lock, before the sink may send anything of it. [Budget]
// counts the bytes that the sink holds, against a limit: it is the only backpressure.
//
// What it promises: [Tracker.Confirmed] is the end of the last transaction such that it and all transactions before it are sealed and fully
// acked, or a later position of the server that was heard while nothing was outstanding. It is always a position that the server gave, it
// never falls within a session, and an ack out of order moves nothing. Memory does not grow with transactions that are acked behind an
// unacked one. An ack of events that were never handed over, or were acked before, is a panic.
//
// What it leaves to its caller: to hand a pass over before the sink is flushed, to ask the budget before each event, and to begin a new
// session, by [Tracker.Restart], only when the sink holds nothing of the old one. It reads no socket and knows neither Postgres nor Kafka.
package inflight
