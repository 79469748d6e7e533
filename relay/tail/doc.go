// Package tail prints the events that are committed from now on, for `walpost tail`: the relay's stream and decoder with a [Printer] in the place
// of a sink, over a temporary slot of its own.
//
// It promises to write nothing to the database and to move no other slot. It keeps no WAL for an output that nobody reads, and holds up no
// server that shuts down. It tries nothing again: what was committed meanwhile would be missing.
package tail
