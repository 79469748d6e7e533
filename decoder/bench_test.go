package decoder

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
)

// A row of 300 bytes in the seven columns of walpost.outbox, in each format.
func benchRow(binary bool) (outbox, insert message) {
	outbox = outboxRelation(append(plain[:5:5], column{"headers", jsonbOID}, column{"created_at", 1184})...)
	payload := `{"order": "0194b0c1", "lines": "` + strings.Repeat("x", 130) + `"}`
	insert = message("I").u32(outboxOID).u8('N').u16(7)
	if binary {
		insert = insert.value('b', "\x01\x94\xb0\xc1\x11\x11\x70\x00\x80\x00\x00\x00\x00\x00\x00\x01").
			value('b', "order").value('b', "customer-0000042").value('b', "order-created").
			value('b', "\x01"+payload+strings.Repeat(" ", 35)).u8('n').value('b', string(message(nil).u64(800_000_000_000_000)))
	} else {
		insert = insert.value('t', "0194b0c1-1111-7000-8000-000000000001").
			value('t', "order").value('t', "customer-0000042").value('t', "order-created").
			value('t', payload).u8('n').value('t', "2026-11-20 12:34:56.789012+00")
	}
	return outbox, insert
}

// BenchmarkInsert measures a row. It also prints how many times longer the parser of pglogrepl takes for the same bytes.
//
//	go test ./decoder -run '^$' -bench Insert -count 6 | benchstat -
func BenchmarkInsert(b *testing.B) {
	for _, format := range []string{"text", "binary"} {
		b.Run(format, func(b *testing.B) {
			outbox, insert := benchRow(format == "binary")
			d := newDecoder()
			for _, m := range []message{begin(8, 0, 1), outbox} {
				if _, err := d.Decode(m); err != nil {
					b.Fatal(err)
				}
			}
			ours := func() {
				if c, err := d.Decode(insert); c == nil || err != nil {
					b.Fatal(c, err)
				}
			}
			theirs := func() {
				if _, err := pglogrepl.Parse(insert); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(insert)))
			b.ReportAllocs()
			for b.Loop() {
				ours()
			}
			b.ReportMetric(fastest(theirs)/fastest(ours), "x-faster-than-pglogrepl")
		})
	}
}

// fastest returns the time of one call in the best of five rounds, because other work on the machine has disturbed that round least. A
// round is long enough for several garbage collections, if the call makes garbage.
func fastest(call func()) float64 {
	const calls = 20_000
	best := time.Duration(1<<63 - 1)
	for range 5 {
		start := time.Now()
		for range calls {
			call()
		}
		best = min(best, time.Since(start))
	}
	return float64(best) / calls
}
