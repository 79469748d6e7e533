package recordbatch

import (
	"encoding/binary"
	"math/bits"
)

// Record is a record to put into a batch. Key and Value are nil for Kafka's null.
type Record struct {
	Timestamp int64 // milliseconds since 1970-01-01 UTC
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Header is one record header.
type Header struct {
	Name  []byte // encoded by EncodeName, so that names that recur are encoded only once
	Value []byte // nil: a null value
}

// EncodeName returns a header name in the encoded form of records.
func EncodeName(name string) []byte {
	return append(appendVarint(nil, len(name)), name...)
}

// Overhead is the maximum number of bytes that a record takes besides Size: its length, its attributes and its two deltas.
const Overhead = 5 + 1 + 10 + 5

// Size returns the length in bytes of the record's encoded key, value and headers. This part is the same in every batch.
func (r *Record) Size() int {
	n := bytesLen(r.Key) + bytesLen(r.Value) + varintLen(len(r.Headers))
	for i := range r.Headers {
		n += len(r.Headers[i].Name) + bytesLen(r.Headers[i].Value)
	}
	return n
}

// appendTo writes the part that Size measures.
func (r *Record) appendTo(b []byte) []byte {
	b = appendBytes(b, r.Key)
	b = appendBytes(b, r.Value)
	b = appendVarint(b, len(r.Headers))
	for i := range r.Headers {
		b = append(b, r.Headers[i].Name...)
		b = appendBytes(b, r.Headers[i].Value)
	}
	return b
}

// Varints are zig-zag encoded, including lengths and counts; -1 stands for null.

func appendVarint(b []byte, v int) []byte {
	return binary.AppendUvarint(b, uint64(v)<<1)
}

func varintLen(v int) int { return uvarintLen(uint64(v) << 1) }

func uvarintLen(u uint64) int { return (bits.Len64(u|1) + 6) / 7 }

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 1) // -1
	}
	return append(appendVarint(b, len(v)), v...)
}

func bytesLen(v []byte) int {
	if v == nil {
		return 1
	}
	return varintLen(len(v)) + len(v)
}
