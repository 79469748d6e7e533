package recordbatch

import (
	"encoding/binary"
	"fmt"
)

// Raw is an encoded record of a batch. It points into the batch, and is valid until the batch is reset.
type Raw struct {
	Timestamp int64 // milliseconds since 1970-01-01 UTC
	Len       int   // bytes that it takes in its batch
	tail      []byte
}

// Each calls f for each record, in order. It decompresses a compressed batch for that, which is rare. It reads only batches that this
// package wrote; anything else in the batch is a bug, and Each panics.
func (b *Batch) Each(f func(i int, r Raw)) {
	if b.count == 0 {
		return
	}
	rest := b.encoded()
	for i := range int(b.count) {
		length, n := varint(rest)
		body := rest[n : n+int(length)]
		delta, d := varint(body[1:])
		_, o := varint(body[1+d:])
		f(i, Raw{Timestamp: b.first + delta, Len: n + int(length), tail: body[1+d+o:]})
		rest = rest[n+int(length):]
	}
	if len(rest) != 0 {
		panic(fmt.Sprintf("recordbatch: %d bytes after the last record", len(rest)))
	}
}

// encoded returns the records.
func (b *Batch) encoded() []byte {
	if b.comp == nil {
		return b.buf[HeadLen:]
	}
	records, err := decompress(b.codec, b.comp[HeadLen:], b.length-HeadLen)
	if err != nil {
		panic(fmt.Sprintf("recordbatch: read what was compressed with %v: %v", b.codec, err))
	}
	return records
}

// Key returns the record's key; nil: it has none. It points into the batch.
func (r Raw) Key() []byte {
	key, _ := cutBytes(r.tail)
	return key
}

// Clone returns a copy that stays valid when the batch is reset.
func (r Raw) Clone() Raw {
	r.tail = append([]byte(nil), r.tail...)
	return r
}

// Record returns the decoded record. Its slices point into the batch.
func (r Raw) Record() Record {
	rec := Record{Timestamp: r.Timestamp}
	rest := r.tail
	rec.Key, rest = cutBytes(rest)
	rec.Value, rest = cutBytes(rest)
	count, n := varint(rest)
	rest = rest[n:]
	for range count {
		length, n := varint(rest)
		h := Header{Name: rest[:n+int(length)]}
		h.Value, rest = cutBytes(rest[n+int(length):])
		rec.Headers = append(rec.Headers, h)
	}
	return rec
}

// Text returns the header's decoded name.
func (h Header) Text() string {
	_, n := varint(h.Name)
	return string(h.Name[n:])
}

func varint(b []byte) (int64, int) {
	v, n := binary.Varint(b)
	if n <= 0 {
		panic("recordbatch: truncated varint")
	}
	return v, n
}

func cutBytes(b []byte) (v, rest []byte) {
	length, n := varint(b)
	if length < 0 {
		return nil, b[n:]
	}
	return b[n : n+int(length) : n+int(length)], b[n+int(length):]
}
