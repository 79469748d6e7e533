package recordbatch_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"walpost/sink/recordbatch"
	"walpost/sink/recordbatch/internal/generate"
)

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func short(r generate.Record) string {
	return fmt.Sprintf("at %d, key %.20q of %d bytes (null: %t), value %.20q of %d bytes (null: %t), %d headers", r.Timestamp,
		r.Key, len(r.Key), r.Key == nil, r.Value, len(r.Value), r.Value == nil, len(r.Headers))
}

func encoder(t testing.TB, c recordbatch.Codec) *recordbatch.Encoder {
	t.Helper()
	e, err := recordbatch.NewEncoder(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func seal(t testing.TB, b *recordbatch.Batch, e *recordbatch.Encoder, s recordbatch.Stamp) []byte {
	t.Helper()
	if err := b.Seal(e, s); err != nil {
		t.Fatal(err)
	}
	return b.Wire()
}

// Every shape of a record, read back by a reader that shares no code with the writer.
func TestRecordShapes(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 300)
	for name, records := range map[string][]generate.Record{
		"all null":            {{}},
		"all empty":           {{Key: []byte{}, Value: []byte{}}},
		"key only":            {{Key: []byte("k")}},
		"value only":          {{Value: []byte("v")}},
		"null header value":   {{Headers: []generate.Header{{Name: "a"}}}},
		"empty header value":  {{Headers: []generate.Header{{Name: "a", Value: []byte{}}}}},
		"empty header name":   {{Headers: []generate.Header{{Value: []byte("v")}}}},
		"one name twice":      {{Headers: []generate.Header{{Name: "a", Value: []byte("1")}, {Name: "a", Value: []byte("2")}}}},
		"name beyond a byte":  {{Headers: []generate.Header{{Name: string(long), Value: long}}}},
		"64 headers":          {{Headers: make([]generate.Header, 64)}},
		"time goes back":      {{Timestamp: 1000}, {Timestamp: 999}, {Timestamp: 0}, {Timestamp: 1001}},
		"extreme times":       {{Timestamp: math.MaxInt64}, {Timestamp: 0}, {Timestamp: math.MaxInt64}},
		"times before 1970":   {{Timestamp: -1}, {Timestamp: math.MinInt64 / 2}, {Timestamp: 5}},
		"binary":              {{Key: []byte{0, 0xff, 0x80}, Value: []byte{0}}},
		"more than a hundred": make([]generate.Record, 129), // offset deltas of two bytes
		"many":                make([]generate.Record, 8300),
	} {
		t.Run(name, func(t *testing.T) {
			b := generate.Batch(records)
			if int(b.Count()) != len(records) {
				t.Errorf("Count() = %d", b.Count())
			}
			wire := seal(t, b, encoder(t, recordbatch.None), recordbatch.Stamp{ProducerID: 7, Epoch: 3, Sequence: 11})
			if len(wire) != b.Len() {
				t.Errorf("Len() = %d, %d bytes on the wire", b.Len(), len(wire))
			}
			h, got := readPlain(t, wire)
			sameRecords(t, got, records)
			if h.producerID != 7 || h.producerEpoch != 3 || h.firstSequence != 11 {
				t.Errorf("stamp %+v", h)
			}
			if b.MaxTimestamp() != h.maxTimestamp {
				t.Errorf("MaxTimestamp() = %d, want %d", b.MaxTimestamp(), h.maxTimestamp)
			}
		})
	}
}

// Lengths around every size at which a varint, or the length that contains it, grows.
func TestVarintBoundaries(t *testing.T) {
	e := encoder(t, recordbatch.None)
	var b recordbatch.Batch
	buf := bytes.Repeat([]byte("0123456789abcdef"), (1<<21+64)/16)
	for _, around := range []int{0, 1 << 6, 1 << 7, 1 << 13, 1 << 14, 1 << 20, 1 << 21} {
		step := 1
		if around > 1<<14 {
			step = 3 // reading megabytes takes its time under the race detector
		}
		for n := max(around-16, 0); n <= around+16; n += step {
			for shape, rec := range []generate.Record{
				{Value: buf[:n]},
				{Key: buf[:n], Value: buf[:1]},
				{Headers: []generate.Header{{Name: "h", Value: buf[:n]}}},
				{Headers: []generate.Header{{Name: string(buf[:n])}}},
			} {
				if n > 1<<14+16 && shape > 1 {
					continue
				}
				b.Reset()
				r := rec.Encode()
				size := r.Size()
				before := b.Len()
				took := b.Append(r, size)
				if b.Len() != before+took || took > size+recordbatch.Overhead {
					t.Fatalf("length %d, shape %d: Append took %d of size %d, the batch grew from %d to %d", n, shape, took, size, before, b.Len())
				}
				_, got := readPlain(t, seal(t, &b, e, recordbatch.Stamp{}))
				sameRecords(t, got, []generate.Record{rec})
			}
		}
	}
}

// Deltas of time and offset around the sizes at which their varints grow.
func TestDeltaBoundaries(t *testing.T) {
	e := encoder(t, recordbatch.None)
	for shift := range 62 {
		for _, sign := range []int64{1, -1} {
			var records []generate.Record
			for d := int64(-2); d <= 2; d++ {
				records = append(records, generate.Record{Timestamp: 1 << 40}, generate.Record{Timestamp: 1<<40 + sign<<shift + d})
			}
			_, got := readPlain(t, seal(t, generate.Batch(records), e, recordbatch.Stamp{}))
			sameRecords(t, got, records)
		}
	}
}

// Overhead is the maximum that a record takes besides its size.
func TestOverheadIsTheMost(t *testing.T) {
	b := generate.Batch([]generate.Record{{Timestamp: math.MinInt64}})
	r := generate.Record{Timestamp: math.MaxInt64 / 2, Value: make([]byte, 1000)}.Encode()
	for range 20_000 {
		if n := b.Append(r, r.Size()); n > r.Size()+recordbatch.Overhead {
			t.Fatalf("record %d took %d bytes, and its size is %d", b.Count()-1, n, r.Size())
		}
	}
}

func TestResetEmpties(t *testing.T) {
	for _, codec := range codecs {
		e := encoder(t, codec)
		first := []generate.Record{{Timestamp: 900, Key: []byte("old"), Value: bytes.Repeat([]byte("old"), 500)}, {Timestamp: 1000}}
		second := []generate.Record{{Timestamp: 5, Value: []byte("new")}}
		b := generate.Batch(first)
		seal(t, b, e, recordbatch.Stamp{ProducerID: 1, Epoch: 1, Sequence: 1})
		b.Reset()
		if b.Count() != 0 || b.Len() != recordbatch.HeadLen || b.Wire() != nil {
			t.Errorf("%v: after Reset %d records, %d bytes, wire %v", codec, b.Count(), b.Len(), b.Wire() != nil)
		}
		b.Each(func(int, recordbatch.Raw) { t.Errorf("%v: an empty batch has a record", codec) })
		r := second[0].Encode()
		b.Append(r, r.Size())
		got := seal(t, b, e, recordbatch.Stamp{ProducerID: 2})
		want := seal(t, generate.Batch(second), encoder(t, codec), recordbatch.Stamp{ProducerID: 2})
		if !bytes.Equal(got, want) {
			t.Errorf("%v: a used batch gives other bytes than a new one", codec)
		}
	}
}

func TestBrokenPreconditionsPanic(t *testing.T) {
	panics := func(what string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", what)
			}
		}()
		f()
	}
	e := encoder(t, recordbatch.None)
	panics("seal of an empty batch", func() { _ = new(recordbatch.Batch).Seal(e, recordbatch.Stamp{}) })
	b := generate.Batch([]generate.Record{{}})
	seal(t, b, e, recordbatch.Stamp{})
	r := generate.Record{}.Encode()
	panics("append to a sealed batch", func() { b.Append(r, r.Size()) })
}

// A batch that does not get smaller is sent uncompressed. So a batch that is within a limit is also within it as it is sent.
func TestSealNeverMakesABatchLarger(t *testing.T) {
	noise := rand.NewChaCha8([32]byte{7})
	for _, codec := range codecs {
		e := encoder(t, codec)
		for _, size := range []int{0, 1, 50, 1000, 1<<15 - 1, 1 << 16, 250 << 10, 1 << 20} {
			value := make([]byte, size)
			_, _ = noise.Read(value)
			records := []generate.Record{{Key: []byte("k"), Value: value}}
			b := generate.Batch(records)
			if wire := seal(t, b, e, recordbatch.Stamp{}); len(wire) > b.Len() {
				t.Errorf("%v: %d bytes are sent as %d", codec, b.Len(), len(wire))
			}
			_, got := readPlain(t, b.Wire())
			sameRecords(t, got, records)
		}
		b := generate.Batch(make([]generate.Record, 1000))
		if wire := seal(t, b, e, recordbatch.Stamp{}); codec != recordbatch.None && len(wire) > b.Len()*3/4 {
			t.Errorf("%v: %d bytes that compress well are sent as %d", codec, b.Len(), len(wire))
		}
	}
}
