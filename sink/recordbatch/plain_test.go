package recordbatch_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"walpost/sink/recordbatch/internal/generate"
)

// head is a batch's head, read field by field according to the format's description.
type head struct {
	baseOffset      int64
	length          int32
	leaderEpoch     int32
	magic           int8
	crc             uint32
	attributes      int16
	lastOffsetDelta int32
	firstTimestamp  int64
	maxTimestamp    int64
	producerID      int64
	producerEpoch   int16
	firstSequence   int32
	count           int32
}

// reader reads the format strictly, and ends the test at a violation.
type reader struct {
	testing.TB
	b []byte
}

func (r *reader) take(n int) []byte {
	r.Helper()
	if n < 0 || n > len(r.b) {
		r.Fatalf("%d bytes wanted of %d", n, len(r.b))
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) int8() int8   { return int8(r.take(1)[0]) }
func (r *reader) int16() int16 { return int16(binary.BigEndian.Uint16(r.take(2))) }
func (r *reader) int32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }
func (r *reader) int64() int64 { return int64(binary.BigEndian.Uint64(r.take(8))) }

// varint reads a zig-zag varint and refuses one that is longer than it must be.
func (r *reader) varint() int64 {
	r.Helper()
	var u uint64
	for shift := 0; ; shift += 7 {
		c := r.take(1)[0]
		u |= uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			if c == 0 && shift > 0 {
				r.Fatal("a varint with a superfluous byte")
			}
			return int64(u>>1) ^ -int64(u&1)
		}
	}
}

func (r *reader) bytes() []byte {
	r.Helper()
	n := r.varint()
	if n == -1 {
		return nil
	}
	return r.take(int(n))
}

// readPlain reads an uncompressed batch, and checks every field that follows from others.
func readPlain(t testing.TB, wire []byte) (head, []generate.Record) {
	t.Helper()
	r := &reader{t, wire}
	h := head{r.int64(), r.int32(), r.int32(), r.int8(), uint32(r.int32()), r.int16(), r.int32(), r.int64(), r.int64(), r.int64(), r.int16(), r.int32(), r.int32()}
	if int(h.length) != len(wire)-12 {
		t.Fatalf("length %d in a batch of %d bytes", h.length, len(wire))
	}
	if crc := crc32.Checksum(wire[21:], crc32.MakeTable(crc32.Castagnoli)); h.crc != crc {
		t.Fatalf("CRC %08x, want %08x", h.crc, crc)
	}
	if h.magic != 2 || h.lastOffsetDelta != h.count-1 || h.attributes != 0 || h.leaderEpoch != -1 || h.baseOffset != 0 {
		t.Fatalf("head %+v", h)
	}
	records := readRecords(t, r.b, h.count, h.firstTimestamp)
	highest := records[0].Timestamp
	for _, rec := range records {
		highest = max(highest, rec.Timestamp)
	}
	if h.maxTimestamp != highest || h.firstTimestamp != records[0].Timestamp {
		t.Fatalf("times from %d to %d, want %d to %d", h.firstTimestamp, h.maxTimestamp, records[0].Timestamp, highest)
	}
	return h, records
}

func readRecords(t testing.TB, b []byte, count int32, first int64) []generate.Record {
	t.Helper()
	all := &reader{t, b}
	var records []generate.Record
	for i := range count {
		r := &reader{t, nil}
		r.b = all.take(int(all.varint()))
		if a := r.int8(); a != 0 {
			t.Fatalf("record %d has attributes %d", i, a)
		}
		rec := generate.Record{Timestamp: first + r.varint()}
		if o := r.varint(); o != int64(i) {
			t.Fatalf("record %d has the offset %d", i, o)
		}
		rec.Key, rec.Value = r.bytes(), r.bytes()
		for range r.varint() {
			rec.Headers = append(rec.Headers, generate.Header{Name: string(r.bytes()), Value: r.bytes()})
		}
		if len(r.b) > 0 {
			t.Fatalf("record %d has %d bytes too many", i, len(r.b))
		}
		records = append(records, rec)
	}
	if len(all.b) > 0 {
		t.Fatalf("%d bytes after the last record", len(all.b))
	}
	return records
}

// sameRecords compares records. Null and empty are different.
func sameRecords(t testing.TB, got, want []generate.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Timestamp != w.Timestamp || !same(g.Key, w.Key) || !same(g.Value, w.Value) || len(g.Headers) != len(w.Headers) {
			t.Fatalf("record %d: %s, want %s", i, short(g), short(w))
		}
		for j := range g.Headers {
			if g.Headers[j].Name != w.Headers[j].Name || !same(g.Headers[j].Value, w.Headers[j].Value) {
				t.Fatalf("record %d, header %d: %.40q: %.40q, want %.40q: %.40q", i, j,
					g.Headers[j].Name, g.Headers[j].Value, w.Headers[j].Name, w.Headers[j].Value)
			}
		}
	}
}
