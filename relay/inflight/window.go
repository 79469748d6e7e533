package inflight

import (
	"fmt"
	"sort"

	"github.com/jackc/pglogrepl"
)

// window holds the transactions that were received in one replication session, and the position that may be confirmed.
//
// Transactions are in WAL order, numbered from 0. Each counts its unacked events, and is sealed with the EndLSN of its commit. The window
// is pure data: it starts no goroutine, reads no clock and computes no LSN. Every position that it returns was read from the server in this
// session.
//
// Invariant: confirmed is the EndLSN of the last transaction such that it and all before it are sealed and fully acked, or a later idle
// position that the server sent when nothing was outstanding. It never falls, and is 0 until one of these is known.
//
// Of a fully acked transaction behind an unacked one, only the end is still needed. So neighbouring acked transactions are merged into one
// entry: one stuck event with millions of acked transactions behind it takes two entries.
type window struct {
	entries   []entry // in WAL order; entries[head] is never done (it would have been confirmed)
	head      int     // entries[:head] are confirmed and gone
	next      uint64  // number of the next transaction
	done      int     // how many of entries[head:] are done
	unacked   int64   // events in all entries
	open      bool    // the last transaction is still open
	confirmed pglogrepl.LSN
	committed int64 // commit time of the last confirmed transaction that had events; 0: none yet
	pending   int64 // commit time of the open transaction
}

// entry is one transaction, or a run of neighbouring transactions that are done.
type entry struct {
	tx      uint64        // its number; of a run, the last one's
	commit  int64         // its commit time, 0 if it has no events; of a run, that of the last one that has
	end     pglogrepl.LSN // EndLSN of the commit; 0 while the transaction is open
	unacked int64
}

func (e *entry) isDone() bool { return e.end != 0 && e.unacked == 0 }

// begin opens the next transaction, with its commit time, and returns its number. The previous transaction must be sealed.
func (w *window) begin(commit int64) uint64 {
	if w.open {
		panic("inflight: begin inside an open transaction")
	}
	tx := w.next
	w.next++
	w.open, w.pending = true, commit
	w.entries = append(w.entries, entry{tx: tx})
	return tx
}

// add counts rows more events in the open transaction.
func (w *window) add(rows int) {
	if !w.open || rows < 0 {
		panic("inflight: events outside a transaction")
	}
	if rows == 0 {
		return
	}
	e := &w.entries[len(w.entries)-1]
	e.commit = w.pending
	e.unacked += int64(rows)
	w.unacked += int64(rows)
}

// seal ends the open transaction with the EndLSN of its commit. A transaction without unacked events is done then.
func (w *window) seal(end pglogrepl.LSN) {
	if !w.open || end == 0 {
		panic("inflight: commit outside a transaction or without an end")
	}
	w.open = false
	last := &w.entries[len(w.entries)-1]
	last.end = end
	if last.isDone() {
		w.settle()
	}
}

// ack counts rows events of transaction tx as acked. If the transaction is done now, it returns the commit time and true. It panics if so
// many events were never added or are acked already, because then the sink breaks its contract.
func (w *window) ack(tx uint64, rows int) (commit int64, done bool) {
	e := w.find(tx)
	if e == nil || rows <= 0 || int64(rows) > e.unacked {
		panic(fmt.Sprintf("inflight: ack of %d events of transaction %d, which has fewer unacked events", rows, tx))
	}
	e.unacked -= int64(rows)
	w.unacked -= int64(rows)
	commit, done = e.commit, e.isDone()
	if done {
		w.settle()
	}
	return commit, done
}

// oldest returns the commit time of the oldest transaction; 0: nothing is outstanding, or it has no events yet.
func (w *window) oldest() (commit int64) {
	if w.empty() {
		return 0
	}
	return w.entries[w.head].commit
}

// idle takes a position before which the server has sent everything. The position counts only if no event is unacked and no transaction is
// open: inside a transaction, it may be the start of the pending commit record.
func (w *window) idle(walEnd pglogrepl.LSN) {
	if w.empty() {
		w.confirm(walEnd, 0)
	}
}

// empty reports whether nothing is outstanding: no open transaction and no unacked event.
func (w *window) empty() bool { return w.head == len(w.entries) }

// before reports whether every transaction before tx is sealed and acked, so that only tx holds confirmed back.
func (w *window) before(tx uint64) bool {
	return w.empty() || w.entries[w.head].tx >= tx
}

// find returns the entry of transaction tx, nil if there is none. As long as no entries are merged, the number gives the index directly.
// Merging only moves entries towards the front, so a binary search before that index finds the others.
func (w *window) find(tx uint64) *entry {
	live := w.entries[w.head:]
	if len(live) == 0 || tx >= w.next {
		return nil
	}
	i := len(live)
	if guess := tx - live[0].tx; tx >= live[0].tx && guess < uint64(len(live)) {
		if live[guess].tx == tx {
			return &live[guess]
		}
		i = int(guess)
	}
	i = sort.Search(i, func(i int) bool { return live[i].tx >= tx })
	if i == len(live) || live[i].tx != tx {
		return nil
	}
	return &live[i]
}

// settle counts one more done entry. It confirms and removes the done entries at the front, and merges if most of the others are done.
func (w *window) settle() {
	w.done++
	for !w.empty() && w.entries[w.head].isDone() {
		w.confirm(w.entries[w.head].end, w.entries[w.head].commit)
		w.head++
		w.done--
	}
	switch live := len(w.entries) - w.head; {
	case live == 0:
		w.entries, w.head = w.entries[:0], 0
	case w.done > 2*(live-w.done)+mergeSlack, w.head > live+mergeSlack:
		w.merge()
	}
}

const (
	mergeSlack = 64      // keeps small windows from being merged all the time
	roomKept   = 1 << 16 // an array of up to so many entries, 2 MiB, is kept for the next burst
)

// merge moves the live entries to the front of their array, and merges neighbours that are done. It leaves at most one done entry behind
// each other entry. So before the next call at least as many entries have to become done as this call has visited: the cost is O(1) per
// transaction.
func (w *window) merge() {
	live := w.entries[w.head:]
	kept := w.entries[:0]
	w.done = 0
	for _, e := range live {
		if last := len(kept) - 1; e.isDone() && last >= 0 && kept[last].isDone() {
			if e.commit == 0 {
				e.commit = kept[last].commit // of the last one that had events
			}
			kept[last] = e
			continue
		}
		if e.isDone() {
			w.done++
		}
		kept = append(kept, e)
	}
	w.head = 0
	if cap(kept) > roomKept && cap(kept) > 8*len(kept) {
		kept = append(make([]entry, 0, 2*len(kept)), kept...)
	}
	w.entries = kept
}

// confirm moves confirmed forward and never back: a keepalive that was queued before a commit may have a lower position than the commit.
func (w *window) confirm(lsn pglogrepl.LSN, commit int64) {
	if lsn <= w.confirmed {
		return
	}
	w.confirmed = lsn
	if commit != 0 {
		w.committed = commit
	}
}
