package sink

import (
	"slices"
	"sync"
	"time"

	"walpost/schema"
	"walpost/sink/recordbatch"
)

// batch is a record batch with what the relay is owed for it.
type batch struct {
	records recordbatch.Batch
	tally
	seq   int32     // of its first record, once sealed
	since time.Time // when its first event was handed over
	named []int32   // indices of the records whose row names the partition itself
}

// handedOver notes when the batch got its first event.
func (b *batch) handedOver(now time.Time) {
	if b.since.IsZero() {
		b.since = now
	}
}

// Count is the number of events.
func (b *batch) Count() int32 { return b.records.Count() }

// Len is the batch's uncompressed length in bytes.
func (b *batch) Len() int { return b.records.Len() }

// Wire is the batch as it is sent, nil while it is not sealed.
func (b *batch) Wire() []byte { return b.records.Wire() }

// Runs are the transactions of the events, in order.
func (b *batch) Runs() []schema.Run { return b.runs }

// Held is how many bytes the events hold altogether.
func (b *batch) Held() int { return b.held }

// Since is when the first event was handed over.
func (b *batch) Since() time.Time { return b.since }

// Append adds an event of transaction tx, where size is r.Size(), and returns the bytes that it holds.
func (b *batch) Append(r *recordbatch.Record, size int, tx uint64) int {
	n := b.records.Append(r, size)
	b.count(tx, n)
	return n
}

// AppendRaw adds an event that is a record already, and that holds so many bytes.
func (b *batch) AppendRaw(r recordbatch.Raw, tx uint64, held int) {
	b.records.AppendRaw(r)
	b.count(tx, held)
}

// Reset empties the batch. Its memory is given back.
func (b *batch) Reset() {
	b.records.Reset()
	b.runs, b.held, b.seq, b.since, b.named = b.runs[:0], 0, 0, time.Time{}, b.named[:0]
}

// name marks the last record as one whose row names the partition.
func (b *batch) name() { b.named = append(b.named, b.Count()-1) }

// tally is what the relay is owed for some events: their runs, in order, and the bytes that Publish named.
type tally struct {
	runs []schema.Run
	held int
}

// count adds an event of transaction tx that holds so many bytes.
func (t *tally) count(tx uint64, bytes int) {
	t.held += bytes
	if n := len(t.runs); n > 0 && t.runs[n-1].Tx == tx {
		t.runs[n-1].Rows++
		return
	}
	t.runs = append(t.runs, schema.Run{Tx: tx, Rows: 1})
}

// each calls f for every record with the transaction that it belongs to.
func (b *batch) each(f func(i int, r recordbatch.Raw, tx uint64)) {
	run, left := 0, int32(0)
	b.records.Each(func(i int, r recordbatch.Raw) {
		for left == 0 {
			left = b.runs[run].Rows
			run++
		}
		left--
		f(i, r, b.runs[run-1].Tx)
	})
}

// isNamed tells whether record i's row names the partition itself.
func (b *batch) isNamed(i int) bool {
	_, found := slices.BinarySearch(b.named, int32(i))
	return found
}

// divide returns new batches that hold the records before, between and behind the cuts, in order. The parts hold the bytes that the
// whole did.
func (b *batch) divide(pool *pool, cuts ...int) []*batch {
	var parts []*batch
	cuts = append(cuts, int(b.Count()))
	next := 0 // the cut that ends the current part
	for next < len(cuts) && cuts[next] == 0 {
		next++
	}
	b.each(func(i int, r recordbatch.Raw, tx uint64) {
		if len(parts) == 0 || i == cuts[next] {
			if len(parts) > 0 {
				next++
			}
			parts = append(parts, pool.get())
			parts[len(parts)-1].since = b.since
		}
		part := parts[len(parts)-1]
		part.AppendRaw(r, tx, r.Len)
		if b.isNamed(i) {
			part.name()
		}
	})
	// Parts are charged by their records' length in the whole. That may be more than the whole was charged, for when it came from a
	// division itself, its times may have got longer: what there is is handed out, and the last one takes the rest.
	left := b.held
	for _, part := range parts[:len(parts)-1] {
		part.held = min(part.held, left)
		left -= part.held
	}
	parts[len(parts)-1].held = left
	return parts
}

// pool keeps emptied batches for the next use. Their buffers it leaves to package recordbatch.
type pool struct{ free sync.Pool }

func (p *pool) get() *batch {
	if b, ok := p.free.Get().(*batch); ok {
		return b
	}
	return &batch{}
}

func (p *pool) put(b *batch) {
	b.Reset()
	p.free.Put(b)
}
