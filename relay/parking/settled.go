package parking

import (
	"maps"

	"walpost/schema"
)

// settled are events that have a dead letter, and that Postgres may deliver again. The key of an entry is the position of the first of 64
// neighbours in one transaction, of which any may be there: so a transaction of a million parked events takes no more than a megabyte.
type settled map[schema.Position]block

// block are events of one transaction, one bit for each.
type block struct {
	all      uint64
	released uint64 // those of all that were released, and have a key
}

// blockOf returns the key of an event's entry, and the event's bit there.
func blockOf(at schema.Position) (first schema.Position, bit uint64) {
	bit = 1 << (at.Index % 64)
	at.Index -= at.Index % 64
	return at, bit
}

func (s settled) add(at schema.Position, released bool) {
	first, bit := blockOf(at)
	b := s[first]
	b.all |= bit
	if released {
		b.released |= bit
	}
	s[first] = b
}

// find reports whether an event is there, and whether it was released and has a key.
func (s settled) find(at schema.Position) (found, released bool) {
	first, bit := blockOf(at)
	b := s[first]
	return b.all&bit != 0, b.released&bit != 0
}

// forget drops the events of transactions whose commit record begins before an LSN.
func (s settled) forget(lsn uint64) {
	maps.DeleteFunc(s, func(at schema.Position, _ block) bool { return at.LSN < lsn })
}
