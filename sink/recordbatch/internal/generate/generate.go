// Package generate makes records out of arbitrary bytes, for tests in which other decoders read what recordbatch wrote. It knows the sizes
// at which encodings change, so that a fuzzer reaches them with a few bytes.
package generate

import (
	"walpost/sink/recordbatch"
)

// Record is a record that is not encoded.
type Record struct {
	Timestamp  int64
	Key, Value []byte // nil: null
	Headers    []Header
}

// Header is a record's header that is not encoded.
type Header struct {
	Name  string
	Value []byte // nil: null
}

// Encode returns the record in the form that recordbatch takes.
func (r Record) Encode() *recordbatch.Record {
	rec := &recordbatch.Record{Timestamp: r.Timestamp, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		rec.Headers = append(rec.Headers, recordbatch.Header{Name: recordbatch.EncodeName(h.Name), Value: h.Value})
	}
	return rec
}

// Batch appends the records to a new, open batch.
func Batch(records []Record) *recordbatch.Batch {
	b := &recordbatch.Batch{}
	for _, r := range records {
		rec := r.Encode()
		b.Append(rec, rec.Size())
	}
	return b
}

// sizes are lengths just below and above those at which a varint grows, or a buffer or a codec's block.
var sizes = [...]int{0, 1, 2, 15, 62, 63, 64, 65, 126, 127, 128, 129, 1000, 8190, 8191, 8192, 8193, 16382, 16383, 16384, 16385}

// large are lengths that a fuzzer reaches only with a byte from Large on, because they take time.
var large = [...]int{32768, 65535, 65536, 1<<20 - 1, 1 << 20, 1<<20 + 1, 1<<21 - 1, 1 << 21, 1<<21 + 1}

// steps are differences in time, chosen like sizes.
var steps = [...]int64{0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8192, -8193, 1<<20 - 1, 1 << 20, -1 << 20, 1<<27 - 1, 1 << 27, -1<<27 - 1,
	1<<34 - 1, 1 << 34, -1<<34 - 1, 1<<41 - 1, 1 << 41}

// Limits of the generated records: enough to reach every boundary, and small enough for many runs a second.
const (
	maxRecords = 300
	maxBytes   = 2<<20 + 1<<17
	epoch      = 1 << 41 // 2039; most steps back from here are still after 1970
)

// Patterns for values: letters compress well, and noise does not.
var (
	letters = []byte("abcdefg")
	noise   = func() []byte {
		b, x := make([]byte, 1021), uint32(1)
		for i := range b {
			x = x*1664525 + 1013904223
			b[i] = byte(x >> 24)
		}
		return b
	}()
)

// source hands out the fuzzer's bytes, then zeros.
type source struct {
	data  []byte
	bytes int // bytes that are already generated
}

func (s *source) next() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

// Large is the first byte that stands for a large value.
const Large = 0xf0

// value returns nil, or a number of bytes that the source chooses, easy or hard to compress.
func (s *source) value() []byte {
	c := s.next()
	if c == 0xff {
		return nil
	}
	n := sizes[int(c)%len(sizes)]
	if i := int(c) - Large; 0 <= i && i < len(large) {
		n = large[i]
	}
	if s.bytes += n; s.bytes > maxBytes {
		n = 1
	}
	pattern := letters
	if c&0x80 != 0 {
		pattern = noise
	}
	v := make([]byte, 0, n+len(pattern))
	for len(v) < n {
		v = append(v, pattern...)
	}
	return v[:n:n]
}

// Records makes at least one record from data.
func Records(data []byte) []Record {
	s := &source{data: data}
	var records []Record
	for len(records) == 0 || len(s.data) > 0 && len(records) < maxRecords && s.bytes < maxBytes {
		// The step is from a fixed time and not from the previous record, so that deltas of both signs occur.
		r := Record{Timestamp: max(epoch+steps[int(s.next())%len(steps)], 0), Key: s.value(), Value: s.value()}
		for range s.next() % 9 {
			r.Headers = append(r.Headers, Header{Name: string(s.value()), Value: s.value()})
		}
		records = append(records, r)
	}
	return records
}

// Seeds returns the inputs that a fuzzer of Records begins with: every size, every step, nulls, headers and many records.
func Seeds() [][]byte {
	seeds := [][]byte{{}, {0, 0xff, 0xff}, {0, 0, 0, 1, 0, 0xff}}
	for i := range steps {
		seeds = append(seeds, []byte{0, 1, 1, 0, byte(i), 1, 1, 0, 1, 1, 1, 0})
	}
	for i := range sizes {
		seeds = append(seeds, []byte{1, byte(i), 1, 0, 2, 1, 0x80 + byte(i), 2, byte(i), 1, 1, byte(i)})
	}
	for i := range large {
		seeds = append(seeds, []byte{3, 1, Large + byte(i)})
	}
	many := make([]byte, 0, 4*maxRecords)
	for i := range maxRecords {
		many = append(many, byte(i), 2, 2, 0)
	}
	return append(seeds, many)
}
