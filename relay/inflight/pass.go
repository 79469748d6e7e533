package inflight

import "github.com/jackc/pglogrepl"

// Pass collects the transactions that one read brought, and the numbers of their events, until [Tracker.HandOver]. The hand-over has to
// come before the sink may send any of these events: an ack may come at once, and must find its transaction in the window.
//
// A pass numbers the transactions in the same way as the window. It belongs to the reader. The zero value is ready to use.
type Pass struct {
	txs    []passTx
	next   uint64        // number of the next transaction
	inside bool          // the last transaction is still open
	final  pglogrepl.LSN // FinalLSN of the last one
	held   int           // bytes of the pass's events
}

// passTx is the part of a transaction that is in a pass.
type passTx struct {
	fresh  bool // it began in this pass
	commit int64
	rows   int
	end    pglogrepl.LSN // EndLSN of its commit; 0: the transaction is still open
}

// Begin opens the next transaction, with the FinalLSN and the commit time that the server announced.
func (p *Pass) Begin(final pglogrepl.LSN, commit int64) {
	p.txs = append(p.txs, passTx{fresh: true, commit: commit})
	p.next++
	p.inside, p.final = true, final
}

// Add counts one event of the open transaction and returns its transaction's number.
func (p *Pass) Add() uint64 {
	p.current().rows++
	return p.next - 1
}

// Hold counts bytes that the sink holds for an event. They reach the budget with the hand-over, because an atomic addition for each event
// would be slow: it has to wait for the writes before it.
func (p *Pass) Hold(bytes int) { p.held += bytes }

// Seal ends the open transaction with the EndLSN of its commit.
func (p *Pass) Seal(end pglogrepl.LSN) {
	p.current().end = end
	p.inside = false
}

// current returns the open transaction, which may have begun in an earlier pass.
func (p *Pass) current() *passTx {
	if len(p.txs) == 0 {
		p.txs = append(p.txs, passTx{})
	}
	return &p.txs[len(p.txs)-1]
}

// End returns the EndLSN of the last transaction that ended in the pass, 0 if none did.
func (p *Pass) End() pglogrepl.LSN {
	for i := len(p.txs) - 1; i >= 0; i-- {
		if end := p.txs[i].end; end != 0 {
			return end
		}
	}
	return 0
}

// Empty reports whether nothing was received since the last hand-over.
func (p *Pass) Empty() bool { return len(p.txs) == 0 }

// Events returns the number of events in the pass, and the numbers of the first and the last transaction that have some.
func (p *Pass) Events() (n int, first, last uint64) {
	for i, tx := range p.txs {
		if tx.rows == 0 {
			continue
		}
		if last = p.next - uint64(len(p.txs)-i); n == 0 {
			first = last
		}
		n += tx.rows
	}
	return n, first, last
}

// Open reports whether a transaction is open.
func (p *Pass) Open() bool { return p.inside }

// AtHand returns the number of the open transaction, or of the next one if none is open.
func (p *Pass) AtHand() uint64 {
	if p.inside {
		return p.next - 1
	}
	return p.next
}

// clear empties the pass for the next read.
func (p *Pass) clear() { p.txs, p.held = p.txs[:0], 0 }
