package lane

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"walpost/schema"
	"walpost/sink/recordbatch"
)

// Batch is a record batch, with the transactions of its events and the bytes that they hold. It belongs to one goroutine at a time.
type Batch struct {
	records recordbatch.Batch
	tally
	commits []commit  // of the runs' transactions
	indexes []uint32  // of each event in its transaction
	seq     int32     // of its first record, once sealed
	since   time.Time // when its first event was handed over
	named   []int32   // indices of the records whose row names the partition itself
	types   []byte    // of each event: the length of its type, and the type; empty if no event has one

	// Indices of the records that the broker named when it refused them as part of a larger batch. If there are any, the batch is divided
	// before it is sent.
	suspects []int32

	pool             *Pool
	reserved, unused int // the size up to which its pool counts unused room; how much it counts now
}

// HandedOver sets the time when the first event was handed over. Later calls change nothing.
func (b *Batch) HandedOver(now time.Time) {
	if b.since.IsZero() {
		b.since = now
	}
}

// Hold makes the events hold this many bytes in total.
func (b *Batch) Hold(bytes int) { b.held = bytes }

// Count returns the number of events.
func (b *Batch) Count() int32 { return b.records.Count() }

// Len returns the batch's uncompressed length in bytes.
func (b *Batch) Len() int { return b.records.Len() }

// Wire returns the batch as it is sent, nil while it is not sealed.
func (b *Batch) Wire() []byte { return b.records.Wire() }

// Runs returns the transactions of the events, in order.
func (b *Batch) Runs() []schema.Run { return b.runs }

// Held returns how many bytes the events hold in total.
func (b *Batch) Held() int { return b.held }

// Since returns when the first event was handed over.
func (b *Batch) Since() time.Time { return b.since }

// emptyBatch is how many bytes a batch takes besides its records: its head and the fields above. They count for its first event. Otherwise,
// small events on ten thousand lanes would take much more memory than they are counted for.
const emptyBatch = recordbatch.HeadLen + 300

// Origin says where an event comes from.
type Origin struct {
	Tx uint64          // the transaction under which it is acked
	At schema.Position // its position in the WAL

	// Its type, if its record does not have it. A batch copies it, and lends the copy while the batch is not changed.
	Type []byte
}

// commit is the part of a position that all events of a transaction share.
type commit struct {
	timeline uint32
	lsn      uint64
}

// Append adds an event. It returns the bytes that the event holds. size is r.Size().
func (b *Batch) Append(r *recordbatch.Record, size int, from Origin) int {
	n := b.records.Append(r, size) + len(from.Type)
	if b.Count() == 1 {
		n += emptyBatch
	}
	b.add(from, n)
	return n
}

// AppendRaw adds an event that is already a record. The event holds held bytes.
func (b *Batch) AppendRaw(r recordbatch.Raw, from Origin, held int) {
	b.records.AppendRaw(r)
	b.add(from, held)
}

// add counts an event that holds this many bytes, and keeps its position.
func (b *Batch) add(from Origin, bytes int) {
	if b.count(from.Tx, bytes) {
		b.commits = append(withRoom(b.commits), commit{from.At.Timeline, from.At.LSN})
	}
	b.indexes = append(withRoom(b.indexes), from.At.Index)
	if len(from.Type)+len(b.types) > 0 {
		if len(b.types) == 0 { // the events before this one have none
			b.types = append(b.types, make([]byte, len(b.indexes)-1)...)
		}
		b.types = append(binary.AppendUvarint(b.types, uint64(len(from.Type))), from.Type...)
	}
}

// mostTypes is how many bytes an emptied batch keeps for the types of its next events.
const mostTypes = 4 << 10

// withRoom returns s with room for one more element. It grows s in fewer and larger steps than append does: most batches have one event or
// many.
func withRoom[T any](s []T) []T {
	if len(s) < cap(s) {
		return s
	}
	return slices.Grow(s, max(1, 7*len(s)))
}

// Reset empties the batch and gives its memory back.
func (b *Batch) Reset() {
	b.records.Reset()
	b.reserved = 0
	b.recount()
	b.runs, b.held, b.seq, b.since, b.named, b.suspects = b.runs[:0], 0, 0, time.Time{}, b.named[:0], nil
	b.commits, b.indexes = b.commits[:0], b.indexes[:0]
	if b.types = b.types[:0]; cap(b.types) > mostTypes {
		b.types = nil
	}
}

// recount updates how much unused room the pool counts for the batch.
func (b *Batch) recount() {
	if unused := max(min(b.reserved-b.Len(), b.records.Room()), 0); unused != b.unused {
		b.pool.unused.Add(int64(unused - b.unused))
		b.unused = unused
	}
}

// MarkNamed marks the last record as one whose row names the partition.
func (b *Batch) MarkNamed() { b.named = append(b.named, b.Count()-1) }

// tally is what to report for some events: their runs, in order, and the bytes that Publish returned for them.
type tally struct {
	runs []schema.Run
	held int
}

// count adds an event of transaction tx that holds this many bytes. It reports whether that begins a new run.
func (t *tally) count(tx uint64, bytes int) (begins bool) {
	t.held += bytes
	if n := len(t.runs); n > 0 && t.runs[n-1].Tx == tx {
		t.runs[n-1].Rows++
		return false
	}
	t.runs = append(t.runs, schema.Run{Tx: tx, Rows: 1})
	return true
}

// Each calls f for every event, in order, with its index, its record and its origin.
func (b *Batch) Each(f func(i int, r recordbatch.Raw, from Origin)) {
	run, left, types := 0, int32(0), b.types
	b.records.Each(func(i int, r recordbatch.Raw) {
		for left == 0 {
			left = b.runs[run].Rows
			run++
		}
		left--
		of := b.commits[run-1]
		var typ []byte
		if len(types) > 0 {
			n, size := binary.Uvarint(types)
			typ, types = types[size:][:n:n], types[size:][n:]
		}
		f(i, r, Origin{Tx: b.runs[run-1].Tx, At: schema.Position{Timeline: of.timeline, LSN: of.lsn, Index: b.indexes[i]}, Type: typ})
	})
}

// EachHeld calls f for every event as [Batch.Each] does, with the bytes that it holds. The sum of these bytes is what all events hold
// together. A record's length can differ from what was counted for it, for example after a batch was divided; so the last event gets the
// rest.
func (b *Batch) EachHeld(f func(i int, r recordbatch.Raw, from Origin, held int)) {
	left := b.held
	b.Each(func(i int, r recordbatch.Raw, from Origin) {
		held := min(r.Len, left)
		if i == int(b.Count())-1 {
			held = left
		}
		left -= held
		f(i, r, from, held)
	})
}

// NamesPartition reports whether the row of event i names the partition itself.
func (b *Batch) NamesPartition(i int) bool {
	_, found := slices.BinarySearch(b.named, int32(i))
	return found
}

// appendOf appends event i of another batch, with what that batch knows of it. The event holds the bytes of its record.
func (b *Batch) appendOf(whole *Batch, i int, r recordbatch.Raw, from Origin) {
	b.AppendRaw(r, from, r.Len)
	if whole.NamesPartition(i) {
		b.MarkNamed()
	}
	if _, found := slices.BinarySearch(whole.suspects, int32(i)); found {
		b.suspects = append(b.suspects, b.Count()-1)
	}
}

// valid returns which of these indices the batch has, in order and each one once. It may reorder its argument.
func (b *Batch) valid(indices []int32) []int32 {
	slices.Sort(indices)
	return slices.DeleteFunc(slices.Compact(indices), func(i int32) bool { return i < 0 || i >= b.Count() })
}

// divide returns new batches with the records before, between and after the cuts, in order. A cut may come several times. Together, the
// parts hold the same bytes as the whole.
func (b *Batch) divide(pool *Pool, cuts ...int) []*Batch {
	var parts []*Batch
	cuts = append(cuts, int(b.Count()))
	next := 0 // the cut that ends the current part
	b.Each(func(i int, r recordbatch.Raw, from Origin) {
		if len(parts) == 0 || i == cuts[next] {
			for cuts[next] <= i {
				next++
			}
			parts = append(parts, pool.Get())
			parts[len(parts)-1].since = b.since
		}
		parts[len(parts)-1].appendOf(b, i, r, from)
	})
	// Each part holds the length that its records had in the whole. The sum may be more than the whole held: if the whole came from a
	// division itself, its timestamp deltas may be longer than before. So no part gets more than what is left, and the last part gets the
	// rest.
	left := b.held
	for _, part := range parts[:len(parts)-1] {
		part.held = min(part.held, left)
		left -= part.held
	}
	parts[len(parts)-1].held = left
	return parts
}

// Pool keeps emptied batches for the next use. Package recordbatch keeps their buffers. The zero value is ready to use. Its methods may be
// called from any goroutine.
type Pool struct {
	free   sync.Pool
	unused atomic.Int64 // bytes that batches have reserved and do not use, at most maxUnused
}

// maxUnused limits the room that batches of a pool have reserved and do not use. No budget counts that room. So if a thousand lanes get few
// events after many, not all of them may begin with as much room as before.
const maxUnused = 3 << 20

// fewLarge is the size from which a batch grows in large steps, as long as maxUnused allows it. Small batches may be many, and would use up
// that limit.
const fewLarge = 16 << 10

// reserve gives an open batch room for n bytes in total, unless other batches have reserved too much: then the batch grows in small steps.
// It reports whether it gave the room.
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

// count adds n to the unused bytes if that is allowed, and reports whether it is.
func (p *Pool) count(n int) bool {
	if p.unused.Add(int64(n)) > maxUnused && n > 0 {
		p.unused.Add(-int64(n))
		return false
	}
	return true
}

// Get returns an empty batch.
func (p *Pool) Get() *Batch {
	if b, ok := p.free.Get().(*Batch); ok {
		return b
	}
	return &Batch{pool: p}
}

// Put empties a batch that is no longer used, and keeps it.
func (p *Pool) Put(b *Batch) {
	b.Reset()
	p.free.Put(b)
}
