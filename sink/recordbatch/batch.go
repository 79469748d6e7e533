package recordbatch

import (
	"encoding/binary"
	"hash/crc32"
)

// HeadLen is the length in bytes of what precedes the records of a batch.
const HeadLen = 61

// Offsets of the fields of a batch's head.
const (
	atLength     = 8
	atEpoch      = 12
	atMagic      = 16
	atCRC        = 17
	atAttributes = 21
	atLastDelta  = 23
	atFirstTime  = 27
	atMaxTime    = 35
	atProducerID = 43
	atProdEpoch  = 51
	atSequence   = 53
	atCount      = 57
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is a record batch: open, while records are appended, then sealed. The zero value is an open, empty one.
type Batch struct {
	buf   []byte // HeadLen bytes, then the encoded records; nil once they are compressed
	count int32
	first int64 // timestamp of the first record: what the others' are written against
	max   int64 // the highest timestamp

	wire   []byte // nil: open; else what is sent: buf, or comp
	comp   []byte // head and compressed records
	codec  Codec  // of comp
	length int    // of buf, before it was compressed
}

// Reset empties the batch and opens it. Its memory is given back.
func (b *Batch) Reset() {
	giveBuffer(b.buf)
	giveBuffer(b.comp)
	*b = Batch{}
}

// Reserve gives an open batch room for n bytes altogether, head included, so that it need not grow by small steps. It gives [RoomFor] as many.
func (b *Batch) Reserve(n int) {
	if n > cap(b.buf) {
		b.buf = moved(b.buf, RoomFor(n))
	}
}

// Count is the number of records.
func (b *Batch) Count() int32 { return b.count }

// Len is the batch's uncompressed length in bytes, head included.
func (b *Batch) Len() int { return max(len(b.buf), b.length, HeadLen) }

// Room is how many bytes of its buffer the batch does not use.
func (b *Batch) Room() int { return cap(b.buf) - len(b.buf) }

// MaxTimestamp is the highest timestamp among the records, in milliseconds.
func (b *Batch) MaxTimestamp() int64 { return b.max }

// Append encodes r at the end of the batch, where size is r.Size(), and returns the bytes that it took. It panics on a sealed batch.
func (b *Batch) Append(r *Record, size int) int {
	n := b.appendHead(r.Timestamp, size)
	b.buf = r.appendTo(b.buf)
	return n
}

// AppendRaw adds a record of another batch and returns the bytes that it took.
func (b *Batch) AppendRaw(r Raw) int {
	n := b.appendHead(r.Timestamp, len(r.tail))
	b.buf = append(b.buf, r.tail...)
	return n
}

// appendHead makes room for a record and writes what depends on the batch: length, attributes and the deltas of time and offset.
func (b *Batch) appendHead(timestamp int64, size int) int {
	if b.wire != nil {
		panic("recordbatch: append to a sealed batch")
	}
	if b.count == 0 {
		b.buf = grown(b.buf[:0], HeadLen+size+Overhead)[:HeadLen]
		b.first, b.max = timestamp, timestamp
	}
	delta := zigzag(timestamp - b.first)
	length := 1 + uvarintLen(delta) + varintLen(int(b.count)) + size
	total := varintLen(length) + length
	b.buf = grown(b.buf, total)
	b.buf = appendVarint(b.buf, length)
	b.buf = append(b.buf, 0) // attributes: none defined
	b.buf = binary.AppendUvarint(b.buf, delta)
	b.buf = appendVarint(b.buf, int(b.count))
	b.max = max(b.max, timestamp)
	b.count++
	return total
}

// Stamp is what makes a batch idempotent: the producer it comes from and the sequence of its first record.
type Stamp struct {
	ProducerID int64
	Epoch      int16
	Sequence   int32
}

// Seal closes the batch: compressed by e and stamped, it is ready to be sent as Wire returns it, any number of times. Once compressed, the
// records are kept in that form only: in an outage the sealed batches may be all that waits, and would take twice what it may. A batch that
// would not get smaller is sent as it is, so Wire is never longer than Len: whoever bounds the one bounds the other.
func (b *Batch) Seal(e *Encoder, s Stamp) error {
	if b.count == 0 {
		panic("recordbatch: seal of an empty batch")
	}
	var comp []byte
	if e.codec != None {
		var err error
		if comp, err = e.seal(b.buf); err != nil {
			return err
		}
	}
	wire, codec := comp, e.codec
	if comp != nil && len(comp) < len(b.buf) {
		b.comp, b.codec, b.length = comp, e.codec, len(b.buf)
		giveBuffer(b.buf)
		b.buf = nil
	} else {
		giveBuffer(comp)
		wire, codec = b.buf, None
	}
	be := binary.BigEndian
	be.PutUint64(wire, 0) // base offset: the broker's to give
	be.PutUint32(wire[atLength:], uint32(len(wire)-atEpoch))
	be.PutUint32(wire[atEpoch:], 1<<32-1) // partition leader epoch: likewise
	wire[atMagic] = 2
	be.PutUint16(wire[atAttributes:], uint16(codec))
	be.PutUint32(wire[atLastDelta:], uint32(b.count-1))
	be.PutUint64(wire[atFirstTime:], uint64(b.first))
	be.PutUint64(wire[atMaxTime:], uint64(b.max))
	be.PutUint32(wire[atCount:], uint32(b.count))
	b.wire = wire
	b.Restamp(s)
	return nil
}

// Restamp gives a sealed batch another producer or sequence. The records stay as they are.
func (b *Batch) Restamp(s Stamp) {
	be := binary.BigEndian
	be.PutUint64(b.wire[atProducerID:], uint64(s.ProducerID))
	be.PutUint16(b.wire[atProdEpoch:], uint16(s.Epoch))
	be.PutUint32(b.wire[atSequence:], uint32(s.Sequence))
	be.PutUint32(b.wire[atCRC:], crc32.Checksum(b.wire[atAttributes:], castagnoli))
}

// Wire is the sealed batch as it is sent, nil while it is open. It is valid until Reset.
func (b *Batch) Wire() []byte { return b.wire }
