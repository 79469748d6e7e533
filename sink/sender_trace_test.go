package sink

import (
	"bytes"
	"testing"
	"time"

	"walpost/internal/latencytrace"
)

type traceFile struct{ bytes.Buffer }

func (*traceFile) Close() error { return nil }

// Each event is in one request, and the times of the request are in order. The trace shows what its lane waited for: nothing, a linger, or
// the request before.
func TestRequestsAreTraced(t *testing.T) {
	b := newScripted(t, "orders", 1)
	f := &traceFile{}
	cfg, acks := config(t, []string{b.Addr()}), newLedger()
	cfg.Trace = latencytrace.New(f)
	k, err := NewKafka(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p, err := k.Open(t.Context(), acks)
	if err != nil {
		t.Fatal(err)
	}
	events := 0
	put := func(flowing bool) {
		publish(t, p, event("orders", "k", events), uint64(events))
		p.Flush(flowing)
		events++
	}
	put(false) // it opens the lane
	acks.wait(t, events, 0)
	const alone, lingering, crowd = 1, 2, 2000
	gap := func() bool {
		s := p.anySender()
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.gap(time.Now()) == 0
	}
	until(t, "the gap behind the request to pass", gap)
	put(false)
	acks.wait(t, events, 0)
	until(t, "the gap behind the request to pass", gap)
	put(true)
	acks.wait(t, events, 0)
	for range crowd { // a request takes longer than an event
		put(false)
	}
	acks.wait(t, events, 0)
	if err := p.Close(); err != nil { // nothing is reported after that
		t.Fatal(err)
	}
	if err := cfg.Trace.Close(); err != nil {
		t.Fatal(err)
	}
	trace, err := latencytrace.Read(&f.Buffer)
	if err != nil {
		t.Fatal(err)
	}
	next, behind := uint64(0), 0
	for i, q := range trace.Requests {
		if len(q.Parts) != 1 || q.Failed || q.UnderWay != 0 {
			t.Fatalf("request %d: %+v", i, q)
		}
		part := q.Parts[0]
		if part.At.IsZero() || part.At.After(q.Woken) || q.Woken.After(part.Sealed) || part.Sealed.After(q.Sent) || q.Sent.After(q.Answered) || q.Answered.After(q.Settled) ||
			!q.Written.IsZero() && q.Written.Before(q.Sent) {
			t.Errorf("request %d: moments out of order: %+v", i, q)
		}
		if i == alone && (part.Behind || part.Linger != 0) || i == lingering && (part.Behind || part.Linger != flowLinger) {
			t.Errorf("request %d was queued as %+v", i, part.Queue)
		}
		if part.Behind {
			behind++
		}
		for _, tx := range part.Txs {
			if tx != next {
				t.Fatalf("request %d: transaction %d, want %d", i, tx, next)
			}
			next++
		}
	}
	if next != uint64(events) || behind == 0 || behind > len(trace.Requests)-3 {
		t.Errorf("%d of %d transactions in %d requests, %d of them behind another", next, events, len(trace.Requests), behind)
	}
}
