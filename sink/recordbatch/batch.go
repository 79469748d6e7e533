package recordbatch

import (
	"encoding/binary"
	"hash/crc32"
)

// HeadLen is the length in bytes of a batch's head, which precedes the records.
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

// Batch is a record batch. It is open while records are appended, and then sealed. The zero value is an open, empty batch.
type Batch struct {
	buf   []byte // HeadLen bytes, then the encoded records; nil once they are compressed
	count int32
	first int64 // timestamp of the first record; the others are written as differences from it
	max   int64 // the highest timestamp

	wire   []byte // nil: open; else the bytes to send: buf or comp
	comp   []byte // head and compressed records
	codec  Codec  // of comp
	length int    // of buf, before it was compressed
}

// Reset empties and opens the batch. It gives the memory back to the pools.
func (b *Batch) Reset() {
	giveBuffer(b.buf)
	giveBuffer(b.comp)
	*b = Batch{}
}

// Reserve gives an open batch room for n bytes in total, including the head, so that it does not grow in small steps. It reserves [RoomFor]
// of n.
func (b *Batch) Reserve(n int) {
	if n > cap(b.buf) {
		b.buf = moved(b.buf, RoomFor(n))
	}
}

// Count returns the number of records.
func (b *Batch) Count() int32 { return b.count }

// Len returns the batch's uncompressed length in bytes, including the head.
func (b *Batch) Len() int { return max(len(b.buf), b.length, HeadLen) }

// Room returns how many bytes of its buffer the batch does not use.
func (b *Batch) Room() int { return cap(b.buf) - len(b.buf) }

// MaxTimestamp returns the highest timestamp of the records, in milliseconds.
func (b *Batch) MaxTimestamp() int64 { return b.max }

// Append encodes r at the end of the batch. size is r.Size(). It returns the number of bytes that r takes in the batch. It panics on a
// sealed batch.
func (b *Batch) Append(r *Record, size int) int {
	n := b.appendHead(r.Timestamp, size)
	b.buf = r.appendTo(b.buf)
	return n
}

// AppendRaw appends a record of another batch. It returns the number of bytes that the record takes in this batch.
func (b *Batch) AppendRaw(r Raw) int {
	n := b.appendHead(r.Timestamp, len(r.tail))
	b.buf = append(b.buf, r.tail...)
	return n
}

// appendHead makes room for a record and writes the fields that depend on the batch: the length, the attributes, and the deltas of time and
// offset.
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

// Stamp makes a batch idempotent: it holds the producer id and epoch, and the sequence of the batch's first record.
type Stamp struct {
	ProducerID int64
	Epoch      int16
	Sequence   int32
}

// Seal closes the batch: it compresses the records with e and adds the stamp. After that, Wire returns the bytes to send, any number of
// times. A compressed batch keeps only the compressed records. In an outage, sealed batches may be all that waits, and keeping both forms
// would take twice the memory. If compressing does not make a batch smaller, it is sent uncompressed. So Wire is never longer than Len, and
// a limit on Len also limits Wire.
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
	be.PutUint64(wire, 0) // base offset: the broker sets it
	be.PutUint32(wire[atLength:], uint32(len(wire)-atEpoch))
	be.PutUint32(wire[atEpoch:], 1<<32-1) // partition leader epoch: the broker sets it
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

// Restamp gives a sealed batch another stamp. The records stay as they are.
func (b *Batch) Restamp(s Stamp) {
	be := binary.BigEndian
	be.PutUint64(b.wire[atProducerID:], uint64(s.ProducerID))
	be.PutUint16(b.wire[atProdEpoch:], uint16(s.Epoch))
	be.PutUint32(b.wire[atSequence:], uint32(s.Sequence))
	be.PutUint32(b.wire[atCRC:], crc32.Checksum(b.wire[atAttributes:], castagnoli))
}

// Wire returns the sealed batch as it is sent, or nil while the batch is open. The slice is valid until Reset.
func (b *Batch) Wire() []byte { return b.wire }
