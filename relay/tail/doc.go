// Package tail prints the events that are committed from now on, for `walpost tail`. It uses the relay's stream and decoder, a [Printer]
// instead of a sink, and a temporary slot of its own.
//
// It guarantees to write nothing to the database and to move no other slot. It does not keep WAL for an output that nobody reads, and does
// not hold up a server that shuts down. It does not reconnect, because events that are committed meanwhile would be missing.
package tail
