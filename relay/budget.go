package relay

import "sync/atomic"

// budget is the only backpressure: the bytes that the sink holds against the limit that the user gave.
//
// The reader asks before each event and, refused, stops reading until bytes are given back. Only the reader takes; acks give back from
// any goroutine.
type budget struct {
	limit int64
	used  atomic.Int64
	freed chan struct{} // holds a token when bytes were given back since the reader last looked
}

func newBudget(limit int64) *budget {
	return &budget{limit: limit, freed: make(chan struct{}, 1)}
}

// admits tells whether n more bytes fit. An event larger than the whole budget fits when nothing is in flight: refusing it for ever
// would stop the stream, and one such event is the least that memory has to hold anyway.
func (b *budget) admits(n int) bool {
	used := b.used.Load()
	return used <= 0 || used+int64(n) <= b.limit
}

// take counts n bytes that the sink now holds.
func (b *budget) take(n int) { b.used.Add(int64(n)) }

// give counts n bytes back and wakes the reader if it waits.
func (b *budget) give(n int) {
	b.used.Add(-int64(n))
	signal(b.freed)
}
