package franztest

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/sink/recordbatch"
	"walpost/sink/recordbatch/internal/generate"
)

var codecs = []recordbatch.Codec{recordbatch.None, recordbatch.Gzip, recordbatch.Snappy, recordbatch.LZ4, recordbatch.Zstd}

// check reads a batch with franz-go's consumer: length, CRC, codec, records.
func check(t *testing.T, codec recordbatch.Codec, e *recordbatch.Encoder, records []generate.Record, s recordbatch.Stamp) {
	t.Helper()
	b := generate.Batch(records)
	if err := b.Seal(e, s); err != nil {
		t.Fatal(err)
	}
	var head kmsg.RecordBatch
	if err := head.ReadFrom(b.Wire()); err != nil {
		t.Fatalf("franz-go: read the batch: %v", err)
	}
	if head.ProducerID != s.ProducerID || head.ProducerEpoch != s.Epoch || head.FirstSequence != s.Sequence || head.NumRecords != b.Count() ||
		head.Attributes != int16(codec) && (head.Attributes != 0 || len(b.Wire()) != b.Len()) || // what does not get smaller is sent as it is
		head.LastOffsetDelta != b.Count()-1 || head.MaxTimestamp != b.MaxTimestamp() {
		t.Fatalf("%v, %+v: franz-go's head says %+v", codec, s, head)
	}
	p := &kmsg.FetchResponseTopicPartition{HighWatermark: 1 << 40, LastStableOffset: 1 << 40, RecordBatches: b.Wire()}
	got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: "t"}, p, kgo.DefaultDecompressor(), func(kgo.FetchBatchMetrics) {})
	if got.Err != nil || len(got.Records) != len(records) || next != int64(len(records)) {
		t.Fatalf("%v: franz-go read %d records of %d, then offset %d: %v", codec, len(got.Records), len(records), next, got.Err)
	}
	for i, r := range got.Records {
		compare(t, i, r, records[i])
	}
}

func compare(t *testing.T, i int, got *kgo.Record, want generate.Record) {
	t.Helper()
	if got.Offset != int64(i) || got.Timestamp.UnixMilli() != want.Timestamp || !same(got.Key, want.Key) || !same(got.Value, want.Value) ||
		len(got.Headers) != len(want.Headers) {
		t.Fatalf("record %d: offset %d at %d with %d headers, key %.20q, value %.20q; want time %d, %d headers, key %.20q, value %.20q", i, got.Offset,
			got.Timestamp.UnixMilli(), len(got.Headers), got.Key, got.Value, want.Timestamp, len(want.Headers), want.Key, want.Value)
	}
	for j, h := range got.Headers {
		if h.Key != want.Headers[j].Name || !same(h.Value, want.Headers[j].Value) {
			t.Fatalf("record %d, header %d: %.40q: %.40q, want %.40q: %.40q", i, j, h.Key, h.Value, want.Headers[j].Name, want.Headers[j].Value)
		}
	}
}

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// TestFranzReadsRecordByRecord reads an uncompressed batch with kmsg alone, and so checks the bytes between the records too.
func TestFranzReadsRecordByRecord(t *testing.T) {
	e, err := recordbatch.NewEncoder(recordbatch.None)
	if err != nil {
		t.Fatal(err)
	}
	for _, seed := range generate.Seeds() {
		records := generate.Records(seed)
		b := generate.Batch(records)
		if err := b.Seal(e, recordbatch.Stamp{}); err != nil {
			t.Fatal(err)
		}
		rest := b.Wire()[recordbatch.HeadLen:]
		for i, want := range records {
			var got kmsg.Record
			if err := got.ReadFrom(rest); err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			again := got.AppendTo(nil)
			if !bytes.Equal(again, rest[:len(again)]) {
				t.Fatalf("record %d: franz-go writes it in %d other bytes", i, len(again))
			}
			if got.OffsetDelta != int32(i) || records[0].Timestamp+got.TimestampDelta64 != want.Timestamp || !same(got.Key, want.Key) || !same(got.Value, want.Value) {
				t.Fatalf("record %d: %+v", i, got)
			}
			rest = rest[len(again):]
		}
		if len(rest) > 0 {
			t.Fatalf("%d bytes after the last record", len(rest))
		}
	}
}

// FuzzFranz writes records that the fuzzer chooses, with a codec, and compares what franz-go reads.
func FuzzFranz(f *testing.F) {
	encoders := map[recordbatch.Codec]*recordbatch.Encoder{}
	for _, c := range codecs {
		var err error
		if encoders[c], err = recordbatch.NewEncoder(c); err != nil {
			f.Fatal(err)
		}
	}
	for i, seed := range generate.Seeds() {
		f.Add(seed, uint8(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, codec uint8) {
		c := codecs[int(codec)%len(codecs)]
		check(t, c, encoders[c], generate.Records(data), recordbatch.Stamp{ProducerID: int64(len(data)), Epoch: 1, Sequence: int32(codec)})
	})
}
