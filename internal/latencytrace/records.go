package latencytrace

import "time"

// Kinds of records in the file.
const (
	kindSession byte = iota + 1
	kindTransaction
	kindPass
	kindRequest
	kindLost
)

// Transaction records when a transaction's Begin message was decoded. The events follow at once.
type Transaction struct {
	Tx        uint64    // its number in the session
	LSN       uint64    // where its commit record starts, as in ce_sequence
	Committed time.Time // by the server's clock, before the commit is flushed; in microseconds
	Sent      time.Time // when the walsender sent the Begin message; in microseconds
	Decoded   time.Time
}

// Pass is one handover of the events that the reader has read and published.
type Pass struct {
	First, Last  uint64    // the first and last transaction with events in the pass
	Events       int       // the number of these events
	Reads        int       // reads since the last pass
	Bytes        int       // the length of the last read
	Began        time.Time // when the last read began
	Read         time.Time // when the last read returned
	HandedOver   time.Time // when the sink was flushed
	MarkAtBegin  bool      // the low-water mark was raised when the last read began
	MarkAtReturn bool      // the mark was raised when the last read returned
	Flowing      bool      // the sink knew that more events were coming
}

// Request is one produce request.
type Request struct {
	Woken    time.Time // when the sender began to take batches from the queued lanes
	Sent     time.Time // just before it was written
	Written  time.Time // zero: the answer came before the write was recorded
	Answered time.Time
	Settled  time.Time // when the events of its last part were acked
	UnderWay int       // other requests to that broker that were under way when it was sent
	Failed   bool
	Parts    []Part
}

// Part is the batch of one partition in a request.
type Part struct {
	Queue
	Sealed time.Time // when the batch had been taken from its lane and compressed
	Txs    []uint64  // the transactions with events in the batch
}

// Queue is the moment at which a lane was queued with its sender.
type Queue struct {
	At       time.Time
	Linger   time.Duration // the linger time; 0: the lane does not linger
	UnderWay int           // requests to the broker that were under way
	Behind   bool          // the lane's previous request was just answered, and the events had to wait for that
}

// Session begins a session: transactions are numbered from 0 again.
func (r *Recorder) Session() { r.log(kindSession) }

// Transaction records t.
func (r *Recorder) Transaction(t *Transaction) {
	r.log(kindTransaction, int64(t.Tx), int64(t.LSN), nanoseconds(t.Committed), nanoseconds(t.Sent), nanoseconds(t.Decoded))
}

// Pass records p.
func (r *Recorder) Pass(p *Pass) {
	r.log(kindPass, int64(p.First), int64(p.Last), int64(p.Events), int64(p.Reads), int64(p.Bytes),
		nanoseconds(p.Began), nanoseconds(p.Read), nanoseconds(p.HandedOver), number(p.MarkAtBegin), number(p.MarkAtReturn), number(p.Flowing))
}

// Request records q.
func (r *Recorder) Request(q *Request) {
	values := []int64{nanoseconds(q.Woken), nanoseconds(q.Sent), nanoseconds(q.Written), nanoseconds(q.Answered), nanoseconds(q.Settled),
		int64(q.UnderWay), number(q.Failed)}
	for i := range q.Parts {
		p := &q.Parts[i]
		values = append(values, nanoseconds(p.At), int64(p.Linger), int64(p.UnderWay), number(p.Behind), nanoseconds(p.Sealed), int64(len(p.Txs)))
		for _, tx := range p.Txs {
			values = append(values, int64(tx))
		}
	}
	r.log(kindRequest, values...)
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
