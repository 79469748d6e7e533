package recordbatch_test

import (
	"bytes"
	"testing"

	"walpost/sink/recordbatch"
	"walpost/sink/recordbatch/internal/generate"
)

// plain decodes a raw record.
func plain(r recordbatch.Raw) generate.Record {
	rec := r.Record()
	p := generate.Record{Timestamp: rec.Timestamp, Key: rec.Key, Value: rec.Value}
	for _, h := range rec.Headers {
		p.Headers = append(p.Headers, generate.Header{Name: h.Text(), Value: h.Value})
	}
	return p
}

// checkRaw iterates over a batch, and moves its records one by one into two other batches. These must be, byte for byte, the same as when
// the records are encoded again.
func checkRaw(t testing.TB, b *recordbatch.Batch, records []generate.Record) {
	t.Helper()
	e := encoder(t, recordbatch.None)
	var got []generate.Record
	var halves [2]recordbatch.Batch
	sum := 0
	b.Each(func(i int, r recordbatch.Raw) {
		if i != len(got) {
			t.Fatalf("record %d after %d", i, len(got))
		}
		got = append(got, plain(r))
		half := &halves[2*i/len(records)]
		before := half.Len()
		if n := half.AppendRaw(r); n != half.Len()-before {
			t.Fatalf("AppendRaw says %d bytes, the batch grew by %d", n, half.Len()-before)
		}
		sum += r.Len
	})
	sameRecords(t, got, records)
	if sum != b.Len()-recordbatch.HeadLen {
		t.Errorf("the records' lengths add up to %d, the batch has %d", sum, b.Len()-recordbatch.HeadLen)
	}
	cut := (len(records) + 1) / 2
	for i, part := range [][]generate.Record{records[:cut], records[cut:]} {
		if len(part) == 0 {
			continue
		}
		s := recordbatch.Stamp{ProducerID: 1, Sequence: 2}
		if moved, anew := seal(t, &halves[i], e, s), seal(t, generate.Batch(part), e, s); !bytes.Equal(moved, anew) {
			t.Errorf("half %d: moved records give other bytes than encoding them again", i)
		}
	}
}

func TestRawRecordsMove(t *testing.T) {
	for name, records := range map[string][]generate.Record{
		"one":   {{Key: []byte("k"), Value: []byte("v")}},
		"nulls": {{}, {Key: []byte{}}, {Value: []byte{}}, {Headers: []generate.Header{{Name: "a"}, {Name: "b", Value: []byte{}}}}},
		"times": {{Timestamp: 1 << 40}, {Timestamp: 5}, {Timestamp: 1 << 41}, {Timestamp: 0}, {Timestamp: 1<<41 + 1}},
		"many":  make([]generate.Record, 300), // offsets shrink from two bytes to one
	} {
		t.Run(name, func(t *testing.T) { checkRaw(t, generate.Batch(records), records) })
	}
}

// Each works for a sealed batch too: that is how a refused batch is divided.
func TestRawOfSealedBatch(t *testing.T) {
	records := generate.Records([]byte("\x00\x07some headers\x03 and such"))
	for _, codec := range codecs {
		b := generate.Batch(records)
		seal(t, b, encoder(t, codec), recordbatch.Stamp{ProducerID: 5, Sequence: 6})
		var got []generate.Record
		b.Each(func(_ int, r recordbatch.Raw) { got = append(got, plain(r)) })
		sameRecords(t, got, records)
	}
}

// Appending to a value that Record returns must not overwrite the bytes after it.
func TestRecordsAreViewsOfTheirOwn(t *testing.T) {
	records := []generate.Record{{Key: []byte("key"), Value: []byte("value"), Headers: []generate.Header{{Name: "n", Value: []byte("h")}}}}
	b := generate.Batch(records)
	b.Each(func(_ int, r recordbatch.Raw) {
		rec := r.Record()
		_ = append(rec.Key, "XXXX"...)
		_ = append(rec.Value, "XXXX"...)
	})
	var got []generate.Record
	b.Each(func(_ int, r recordbatch.Raw) { got = append(got, plain(r)) })
	sameRecords(t, got, records)
}
