package lane

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"walpost/schema"
	"walpost/sink/recordbatch"
)

// Batch is a record batch with what the relay is owed for its events. It belongs to one goroutine at a time.
type Batch struct {
	records recordbatch.Batch
	tally
	seq   int32     // of its first record, once sealed
	since time.Time // when its first event was handed over
	named []int32   // indices of the records whose row names the partition itself

	pool             *Pool
	reserved, unused int // up to how many bytes its pool counts what is empty of its room; how many that are
}

// HandedOver notes when the first event was handed over. Later calls change nothing.
func (b *Batch) HandedOver(now time.Time) {
	if b.since.IsZero() {
		b.since = now
	}
}

// Count returns the number of events.
func (b *Batch) Count() int32 { return b.records.Count() }

// Len returns the batch's uncompressed length in bytes.
func (b *Batch) Len() int { return b.records.Len() }

// Wire returns the batch as it is sent, nil while it is not sealed.
func (b *Batch) Wire() []byte { return b.records.Wire() }

// Runs returns the transactions of the events, in order.
func (b *Batch) Runs() []schema.Run { return b.runs }

// Held returns how many bytes the events hold altogether.
func (b *Batch) Held() int { return b.held }

// Since returns when the first event was handed over.
func (b *Batch) Since() time.Time { return b.since }

// emptyBatch is what a batch takes beside its records, in bytes: its head, and what stands above. Its first event holds it, or small events
// that are scattered over ten thousand lanes would take a good deal more than they are counted for.
const emptyBatch = recordbatch.HeadLen + 300

// Append adds an event of transaction tx, and returns the bytes that it holds. size is r.Size().
func (b *Batch) Append(r *recordbatch.Record, size int, tx uint64) int {
	n := b.records.Append(r, size)
	if b.Count() == 1 {
		n += emptyBatch
	}
	b.count(tx, n)
	return n
}

// AppendRaw adds an event of transaction tx that is a record already, and that holds so many bytes.
func (b *Batch) AppendRaw(r recordbatch.Raw, tx uint64, held int) {
	b.records.AppendRaw(r)
	b.count(tx, held)
}

// Reset empties the batch and gives its memory back.
func (b *Batch) Reset() {
	b.records.Reset()
	b.reserved = 0
	b.recount()
	b.runs, b.held, b.seq, b.since, b.named = b.runs[:0], 0, 0, time.Time{}, b.named[:0]
}

// recount has the pool count what is still empty of the room that was reserved.
func (b *Batch) recount() {
	if unused := max(min(b.reserved-b.Len(), b.records.Room()), 0); unused != b.unused {
		b.pool.unused.Add(int64(unused - b.unused))
		b.unused = unused
	}
}

// markNamed marks the last record as one whose row names the partition.
func (b *Batch) markNamed() { b.named = append(b.named, b.Count()-1) }

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

// Each calls f for every event, in order, with its index, its record and its transaction.
func (b *Batch) Each(f func(i int, r recordbatch.Raw, tx uint64)) {
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

// NamesPartition reports whether the row of event i names the partition itself.
func (b *Batch) NamesPartition(i int) bool {
	_, found := slices.BinarySearch(b.named, int32(i))
	return found
}

// divide returns new batches that hold the records before, between and behind the cuts, in order. The parts hold the bytes that the
// whole did.
func (b *Batch) divide(pool *Pool, cuts ...int) []*Batch {
	var parts []*Batch
	cuts = append(cuts, int(b.Count()))
	next := 0 // the cut that ends the current part
	for next < len(cuts) && cuts[next] == 0 {
		next++
	}
	b.Each(func(i int, r recordbatch.Raw, tx uint64) {
		if len(parts) == 0 || i == cuts[next] {
			if len(parts) > 0 {
				next++
			}
			parts = append(parts, pool.get())
			parts[len(parts)-1].since = b.since
		}
		part := parts[len(parts)-1]
		part.AppendRaw(r, tx, r.Len)
		if b.NamesPartition(i) {
			part.markNamed()
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

// Pool keeps emptied batches for the next use. It leaves their buffers to package recordbatch. The zero value is ready, and its methods may
// be called from any goroutine.
type Pool struct {
	free   sync.Pool
	unused atomic.Int64 // bytes of room that batches have been given and do not use, maxUnused at most
}

// maxUnused bounds the room that batches of a pool have been given and do not use. No budget counts that room, so lanes that get little
// after much, a thousand of them, must not each begin with as much as they had.
const maxUnused = 3 << 20

// fewLarge is from how many bytes on a batch grows by large steps, as long as maxUnused lets it. Small batches may be many, and then they
// would take all of that.
const fewLarge = 16 << 10

// reserve gives an open batch room for n bytes altogether, unless too much is reserved for others already: then it grows by small steps as it
// is filled. It reports whether it did.
func (p *Pool) reserve(b *Batch, n int) bool {
	if n <= b.Len() {
		return true
	}
	room := recordbatch.RoomFor(n)
	unused := room - b.Len()
	if !p.count(unused - b.unused) {
		return false
	}
	b.records.Reserve(n)
	b.reserved, b.unused = room, unused
	return true
}

// count counts n more bytes that are not used, and reports whether that may be.
func (p *Pool) count(n int) bool {
	if p.unused.Add(int64(n)) > maxUnused && n > 0 {
		p.unused.Add(-int64(n))
		return false
	}
	return true
}

func (p *Pool) get() *Batch {
	if b, ok := p.free.Get().(*Batch); ok {
		return b
	}
	return &Batch{pool: p}
}

// Put empties a batch that nobody uses any more, and keeps it.
func (p *Pool) Put(b *Batch) {
	b.Reset()
	p.free.Put(b)
}
