package inflight

import (
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/relay/internal/wake"
	"walpost/schema"
)

// Tracker connects the reader, which hands passes over, the sink, which acks, and the confirmer, which asks which position it may confirm.
// A sink reports to it. Any goroutine may call its methods; they block only for its lock.
//
// A tracker outlives replication sessions, as the events in the sink do. Each session begins with an empty window, after the old window is
// drained.
type Tracker struct {
	Budget   *Budget       // passes take, acks give back
	Progress chan struct{} // for the confirmer: has a token when confirmed has moved
	Changed  chan struct{} // for a reader that waits: has a token when something was acked or rejected

	mu       sync.Mutex
	window   window
	final    pglogrepl.LSN // FinalLSN of the last transaction in window
	refused  *Refusal
	onRefuse func()    // called at each refusal, under mu
	delivery latency   // commit → ack
	acked    int64     // events, in all
	waiting  time.Time // since when the sink has held events and acked none, see Load
	lastAck  time.Time
}

// Refusal says that an event of transaction Tx can never become a record, and why.
type Refusal struct {
	Tx  uint64
	Err error
}

// NewTracker returns an empty tracker. It counts the bytes that the sink holds in b.
func NewTracker(b *Budget) *Tracker {
	return &Tracker{Budget: b, delivery: newLatency(), Progress: make(chan struct{}, 1), Changed: make(chan struct{}, 1)}
}

// HandOver adds the transactions of a pass to the window and its bytes to the budget, and clears the pass. It returns the number of events,
// and of commits, in the pass.
func (t *Tracker) HandOver(p *Pass) (events, transactions int) {
	t.Budget.take(p.held)
	t.mu.Lock()
	before, idle := t.window.confirmed, t.window.unacked == 0
	for i := range p.txs {
		tx := &p.txs[i]
		if tx.fresh {
			t.window.begin(tx.commit)
		}
		if tx.rows > 0 {
			t.window.add(tx.rows)
			events += tx.rows
		}
		if tx.end != 0 {
			t.window.seal(tx.end)
			transactions++
		}
	}
	if idle && t.window.unacked > 0 {
		t.waiting = time.Now()
	}
	t.final = p.final
	moved := t.window.confirmed != before
	t.mu.Unlock()
	p.clear()
	if moved {
		wake.Signal(t.Progress)
	}
	return events, transactions
}

// Idle takes the position of a keepalive: the server has sent everything before it. The position counts only if nothing is outstanding.
func (t *Tracker) Idle(walEnd pglogrepl.LSN) {
	t.mu.Lock()
	before := t.window.confirmed
	t.window.idle(walEnd)
	moved := t.window.confirmed != before
	t.mu.Unlock()
	if moved {
		wake.Signal(t.Progress)
	}
}

// Acked counts the events of runs as acked, and gives bytes back to the budget. It does not keep runs.
func (t *Tracker) Acked(runs []schema.Run, bytes int) {
	now := time.Now()
	t.mu.Lock()
	before := t.window.confirmed
	for _, run := range runs {
		t.acked += int64(run.Rows)
		if commit, done := t.window.ack(run.Tx, int(run.Rows)); done && commit != schema.NoTime {
			t.delivery.observe(now.Sub(time.UnixMicro(commit)))
		}
	}
	t.lastAck, t.waiting = now, now
	moved := t.window.confirmed != before
	t.mu.Unlock()
	t.Budget.give(bytes)
	if moved {
		wake.Signal(t.Progress)
	}
	wake.Signal(t.Changed)
}

// Rejected notes that an event of transaction tx can never be delivered. The event stays unacked for good. Of several refusals the tracker
// keeps the first one in WAL order.
func (t *Tracker) Rejected(tx uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused == nil || tx < t.refused.Tx {
		t.refused = &Refusal{Tx: tx, Err: err}
	}
	if t.onRefuse != nil {
		t.onRefuse()
	}
	wake.Signal(t.Changed)
}

// Restart begins the window of a new session. The old window must be drained. The tracker calls onRefuse at each refusal, and at once if
// there was one before.
func (t *Tracker) Restart(onRefuse func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.window.unacked != 0 {
		panic("inflight: a new session while the sink still holds events of the old one")
	}
	t.window = window{}
	t.onRefuse = onRefuse
	if t.refused != nil {
		onRefuse()
	}
}

// Confirmed returns the position before which everything is acked, 0 if none is known yet. It also returns the commit time of the last
// transaction with events before that position, in microseconds since 1970; 0: there is none in this session.
func (t *Tracker) Confirmed() (lsn pglogrepl.LSN, commit int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.window.confirmed, t.window.committed
}

// Drained reports whether every event is acked.
func (t *Tracker) Drained() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.window.unacked == 0
}

// Refusal returns the first refused event in WAL order, nil if there is none. alone says that everything before its transaction is acked.
func (t *Tracker) Refusal() (r *Refusal, alone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused == nil {
		return nil, false
	}
	return t.refused, t.window.before(t.refused.Tx)
}

// Beyond returns the position to which a person has to advance the slot to skip the unacked transaction tx, 0 if it is unknown.
func (t *Tracker) Beyond(tx uint64) pglogrepl.LSN {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := t.window.find(tx); {
	case e == nil:
		return 0
	case e.end != 0:
		return e.end
	}
	return JustBeyond(t.final)
}

// Latency returns the histogram of the seconds from a transaction's commit to its last ack, in the form that NewConstHistogram of
// client_golang takes.
func (t *Tracker) Latency() (count uint64, sum float64, buckets map[float64]uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.delivery.count, t.delivery.sum, t.delivery.cumulative()
}

// Load is the state of a tracker for metrics and readiness.
type Load struct {
	Unacked int64     // events
	Acked   int64     // events, since the tracker was made
	Oldest  time.Time // commit time of the oldest transaction that holds confirmed back; zero: none does
	Waiting time.Time // since when the sink has held events and acked none; zero: it holds none
	LastAck time.Time
}

// Load returns the current state.
func (t *Tracker) Load() Load {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := Load{Unacked: t.window.unacked, Acked: t.acked, LastAck: t.lastAck}
	if t.window.unacked > 0 {
		l.Waiting = t.waiting
		if commit := t.window.oldest(); commit != 0 && commit != schema.NoTime {
			l.Oldest = time.UnixMicro(commit)
		}
	}
	return l
}

// JustBeyond returns the lowest position from which a slot no longer sends the transaction whose commit record starts at final. It still
// sends all later transactions.
func JustBeyond(final pglogrepl.LSN) pglogrepl.LSN { return final + 1 }
