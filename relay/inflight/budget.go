package inflight

import (
	"sync/atomic"

	"walpost/relay/internal/wake"
)

// Budget is the only backpressure: it counts the bytes that the sink holds, against the limit that the user gave.
//
// The reader asks before each event (session.admit in package relay) and, refused, stops reading until bytes are given back. What its pass
// holds is taken with the pass, see [Tracker.HandOver]; acks give back from any goroutine.
type Budget struct {
	Freed chan struct{} // has a token when bytes were given back since the reader last looked
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of so many bytes, all of them free.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, Freed: make(chan struct{}, 1)}
}

// Admits reports whether n more bytes fit beside those of a pass. An event larger than the whole budget fits when nothing is in flight:
// refusing it for ever would stop the stream, and one such event is the least that memory has to hold anyway.
func (b *Budget) Admits(p *Pass, n int) bool {
	used := b.Used() + int64(p.held)
	return used <= 0 || used+int64(n) <= b.limit
}

// Limit returns the bytes that the user allows.
func (b *Budget) Limit() int64 { return b.limit }

// Used returns the bytes that the sink holds, but for those of a pass that has not been handed over.
func (b *Budget) Used() int64 { return b.used.Load() }

// Reset counts everything back: the sink that held it is closed.
func (b *Budget) Reset() { b.used.Store(0) }

// take counts n bytes that the sink holds.
func (b *Budget) take(n int) { b.used.Add(int64(n)) }

// give counts n bytes back and wakes the reader if it waits.
func (b *Budget) give(n int) {
	b.used.Add(-int64(n))
	wake.Signal(b.Freed)
}
