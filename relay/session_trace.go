package relay

import (
	"time"

	"walpost/decoder"
	"walpost/internal/latencytrace"
	"walpost/relay/inflight"
	"walpost/relay/replication"
)

// passTrace records the reader's part of a latency trace. It belongs to the reader. A nil passTrace does nothing, and costs one comparison
// per read, pass or transaction.
type passTrace struct {
	to   *latencytrace.Recorder
	pass latencytrace.Pass
}

func newPassTrace(to *latencytrace.Recorder) *passTrace {
	if to == nil {
		return nil
	}
	return &passTrace{to: to}
}

// session notes that transactions are numbered from 0 again.
func (t *passTrace) session() {
	if t != nil {
		t.to.Session()
	}
}

// begin notes that a read begins.
func (t *passTrace) begin(stream *replication.Stream) {
	if t != nil {
		t.pass.Began, t.pass.MarkAtBegin = time.Now(), stream.MarkRaised()
	}
}

// read notes that a read has returned.
func (t *passTrace) read(stream *replication.Stream) {
	if t != nil {
		t.pass.Read, t.pass.MarkAtReturn = time.Now(), stream.MarkRaised()
		t.pass.Bytes = stream.Buffered()
		t.pass.Reads++
	}
}

// transaction records a transaction whose Begin message was decoded.
func (t *passTrace) transaction(s *session, begin *decoder.Begin, msg []byte) {
	if t == nil {
		return
	}
	t.to.Transaction(&latencytrace.Transaction{
		Tx: s.pass.AtHand(), LSN: uint64(begin.FinalLSN), Committed: time.UnixMicro(begin.CommitTime), Sent: s.stream.SentAt(msg), Decoded: time.Now(),
	})
}

// handOver records a pass that has events.
func (t *passTrace) handOver(p *inflight.Pass, flowing bool) {
	if t == nil {
		return
	}
	if t.pass.Events, t.pass.First, t.pass.Last = p.Events(); t.pass.Events > 0 {
		t.pass.HandedOver, t.pass.Flowing = time.Now(), flowing
		t.to.Pass(&t.pass)
		t.pass.Reads = 0
	}
}
