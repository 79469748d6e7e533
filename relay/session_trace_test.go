package relay

import (
	"bytes"
	"testing"
	"time"

	"walpost/internal/latencytrace"
)

type traceFile struct{ bytes.Buffer }

func (*traceFile) Close() error { return nil }

// The trace has every transaction with its position. The passes cover all transactions and events, also those of a transaction that spans
// passes.
func TestPassesAreTraced(t *testing.T) {
	f := &traceFile{}
	r := latencytrace.New(f)
	const transactions, rows = 500, 30 // more than one read takes
	began := time.Now()
	traceSession(t, streamOf(transactions, rows), transactions*rows, r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	trace, err := latencytrace.Read(&f.Buffer)
	if err != nil {
		t.Fatal(err)
	}
	for i, tx := range trace.Transactions[:transactions] {
		if tx.Tx != uint64(i) || tx.LSN != uint64(0x1000*(i+1)) || tx.Sent != time.UnixMicro(946_684_800_000_000) || tx.Decoded.Before(began) {
			t.Fatalf("transaction %d: %+v", i, tx)
		}
	}
	events, covered, spans := 0, uint64(0), 0
	for i, p := range trace.Passes {
		if p.Events == 0 || p.Bytes == 0 || p.Reads == 0 || p.Began.Before(began) || p.Read.Before(p.Began) || p.HandedOver.Before(p.Read) {
			t.Fatalf("pass %d: %+v", i, p)
		}
		if i > 0 && p.First != covered && p.First != covered+1 {
			t.Fatalf("pass %d begins with transaction %d, and the one before ended with %d", i, p.First, covered)
		}
		if i > 0 && p.First == covered {
			spans++
		}
		covered = p.Last
		events += p.Events
	}
	if len(trace.Passes) < 2 || spans == 0 || events < transactions*rows || covered < transactions-1 {
		t.Errorf("%d passes, %d of which go on with a transaction; %d events up to transaction %d", len(trace.Passes), spans, events, covered)
	}
}
