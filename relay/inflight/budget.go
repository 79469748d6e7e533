package inflight

import (
	"sync/atomic"

	"walpost/relay/internal/wake"
)

// Budget is the only backpressure: it counts the bytes that the sink holds, and compares them with the configured limit.
//
// Before each event the reader asks whether there is room (session.admit in package relay). If there is none, it stops reading until bytes
// are given back. The bytes of a pass are taken when the pass is handed over, see [Tracker.HandOver]. Acks give bytes back, from any
// goroutine.
type Budget struct {
	Freed chan struct{} // has a token if bytes were given back since the reader last took one
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of limit bytes, all of them free.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, Freed: make(chan struct{}, 1)}
}

// Admits reports whether there is room for n more bytes, besides those of pass p. An event larger than the whole budget is admitted when
// nothing is in flight: otherwise it would stop the stream for ever, and memory has to hold at least one event anyway.
func (b *Budget) Admits(p *Pass, n int) bool {
	used := b.Used() + int64(p.held)
	return used <= 0 || used+int64(n) <= b.limit
}

// Limit returns the configured limit in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Used returns the bytes that the sink holds, without those of a pass that has not been handed over.
func (b *Budget) Used() int64 { return b.used.Load() }

// Reset gives all bytes back, after the sink that held them is closed.
func (b *Budget) Reset() { b.used.Store(0) }

// take counts n more bytes that the sink holds.
func (b *Budget) take(n int) { b.used.Add(int64(n)) }

// give gives n bytes back, and wakes the reader if it waits.
func (b *Budget) give(n int) {
	b.used.Add(-int64(n))
	wake.Signal(b.Freed)
}
