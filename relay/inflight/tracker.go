package inflight

import (
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/relay/internal/wake"
	"walpost/schema"
)

// Tracker stands between the reader, which hands passes over, the sink, which acks, and the confirmer, which asks how far Postgres may be told
// to forget. It is what a sink reports to. Its methods may be called from any goroutine; none blocks on anything but its lock.
//
// It outlives replication sessions, because what the sink holds does: each session begins with an empty window once the old one is drained.
type Tracker struct {
	Budget   *Budget       // passes take, acks give back
	Progress chan struct{} // has a token when confirmed moved: for the confirmer
	Changed  chan struct{} // has a token when something was acked or rejected: for the reader when it waits for that

	mu       sync.Mutex
	window   window
	final    pglogrepl.LSN // FinalLSN of the last transaction in window
	refused  *Refusal
	onRefuse func()    // called at each refusal, under mu
	delivery latency   // commit → ack
	acked    int64     // events, in all
	waiting  time.Time // see Load
	lastAck  time.Time
}

// Refusal is an event of transaction Tx that can never become a record, and why.
type Refusal struct {
	Tx  uint64
	Err error
}

// NewTracker returns a tracker of nothing. What the sink holds is counted in b.
func NewTracker(b *Budget) *Tracker {
	return &Tracker{Budget: b, delivery: newLatency(), Progress: make(chan struct{}, 1), Changed: make(chan struct{}, 1)}
}

// HandOver adds what a pass saw to the window and what it holds to the budget, and clears the pass. It returns how many events that were, and
// how many commits.
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

// Idle takes the position of a keepalive, up to which the server has sent everything. It counts only if nothing is outstanding.
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

// Acked takes off the events that runs count, and gives bytes back to the budget. runs is not kept.
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

// Rejected notes that an event of transaction tx can never be delivered. It counts as unacked for good. The first one in WAL order is kept.
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

// Restart begins the window of a new session. onRefuse is called at each refusal, also now if there was one. The old window must be drained.
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

// Confirmed returns how far everything is acked, 0 if nothing is known yet, and the commit time of the last transaction with events before
// that, in microseconds since 1970 (0: none in this session).
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

// Refusal returns the first refused event in WAL order, nil if none was, and whether everything before its transaction is acked.
func (t *Tracker) Refusal() (r *Refusal, alone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused == nil {
		return nil, false
	}
	return t.refused, t.window.before(t.refused.Tx)
}

// Beyond returns the position to which a person advances the slot to pass unacked transaction tx by, 0 if it is unknown.
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

// Latency returns the histogram of how long transactions took from their commit to their last ack, in seconds, as
// NewConstHistogram of client_golang takes it.
func (t *Tracker) Latency() (count uint64, sum float64, buckets map[float64]uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.delivery.count, t.delivery.sum, t.delivery.cumulative()
}

// Load is what a tracker knows for metrics and readiness.
type Load struct {
	Unacked int64     // events
	Acked   int64     // events, since the tracker was made
	Oldest  time.Time // commit of the oldest transaction that holds confirmed back; zero: none does
	Waiting time.Time // since when the sink holds events and has acked none; zero: it holds none
	LastAck time.Time
}

// Load returns what is unacked and acked at this moment.
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

// JustBeyond returns the first position from which a transaction whose commit record starts at final is not decoded any more; every later
// one is.
func JustBeyond(final pglogrepl.LSN) pglogrepl.LSN { return final + 1 }
