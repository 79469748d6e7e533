package sink

import (
	"sync/atomic"
	"time"

	"walpost/internal/latencytrace"
	"walpost/sink/lane"
)

// requestTrace records a request for a latency trace. It is passed with the request from the sender's loop to the goroutine of the answer.
// Methods of a nil trace do nothing: each costs one comparison per request or batch.
type requestTrace struct {
	latencytrace.Request
	to   *latencytrace.Recorder
	done atomic.Int64 // when the request was written, in nanoseconds since 1970; the answer may come before done is set
}

// traceQueue notes that a lane is queued. linger is how long it waits; 0: not at all. s.mu is held.
func (s *sender) traceQueue(part *partition, linger time.Duration) {
	if s.p.cfg.Trace != nil {
		part.queued = &latencytrace.Queue{At: time.Now(), Linger: linger, UnderWay: len(s.requests), Behind: part.behind}
		part.behind = false
	}
}

// traceRequest begins the trace of a request. Queued lanes are added to it next.
func (s *sender) traceRequest() *requestTrace {
	if s.p.cfg.Trace == nil {
		return nil
	}
	return &requestTrace{to: s.p.cfg.Trace, Request: latencytrace.Request{Woken: time.Now()}}
}

// add notes a batch that was taken from its lane and sealed.
func (t *requestTrace) add(part *partition, b *lane.Batch) {
	if t == nil {
		return
	}
	p := latencytrace.Part{Queue: *part.queued, Sealed: time.Now()}
	for _, run := range b.Runs() {
		p.Txs = append(p.Txs, run.Tx)
	}
	t.Parts = append(t.Parts, p)
}

// sent notes that the request is about to be written. underWay is the number of other requests under way.
func (t *requestTrace) sent(at time.Time, underWay int) {
	if t != nil {
		t.Sent, t.UnderWay = at, underWay
	}
}

// written notes that the request was written.
func (t *requestTrace) written() {
	if t != nil {
		t.done.Store(time.Now().UnixNano())
	}
}

// answered notes the answer, or the error that ended the wait for it.
func (t *requestTrace) answered(err error) {
	if t == nil {
		return
	}
	t.Answered, t.Failed = time.Now(), err != nil
	if ns := t.done.Load(); ns != 0 {
		t.Written = time.Unix(0, ns)
	}
}

// settled records the request, after the outcomes of all its parts were handled.
func (t *requestTrace) settled() {
	if t != nil {
		t.Settled = time.Now()
		t.to.Request(&t.Request)
	}
}
