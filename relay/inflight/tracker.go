package inflight

import (
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/relay/internal/wake"
	"walpost/schema"
)

// Tracker is what is under way between the reader, which hands passes over, the sink, which acks, and the confirmer, which asks how far
// Postgres may be told to forget: the window and the budget behind one lock. It implements [Acks].
//
// It outlives replication sessions, because what the sink holds does; each session gets a fresh window once the old one is drained.
type Tracker struct {
	Budget   *Budget
	Progress chan struct{} // has a token when confirmed moved: for the confirmer
	Changed  chan struct{} // has a token when something was acked or rejected: for the reader when it waits for that

	mu       sync.Mutex
	window   window
	final    pglogrepl.LSN // FinalLSN of the last transaction in window
	refused  *Refusal
	onRefuse func()  // called at each refusal, under mu
	delivery latency // commit → ack
	acked    int64   // events, in all
	waiting  time.Time
	lastAck  time.Time
}

// Refusal is an event that can never become a record.
type Refusal struct {
	Tx  uint64
	Err error
}

func NewTracker(b *Budget) *Tracker {
	return &Tracker{Budget: b, delivery: newLatency(), Progress: make(chan struct{}, 1), Changed: make(chan struct{}, 1)}
}

// HandOver makes the window know what a pass saw, and clears the pass.
func (f *Tracker) HandOver(p *Pass) (events, transactions int) {
	f.mu.Lock()
	before, idle := f.window.confirmed, f.window.unacked == 0
	for i := range p.txs {
		tx := &p.txs[i]
		if tx.fresh {
			f.window.begin(tx.commit)
		}
		if tx.rows > 0 {
			f.window.add(tx.rows)
			events += tx.rows
		}
		if tx.end != 0 {
			f.window.seal(tx.end)
			transactions++
		}
	}
	if idle && f.window.unacked > 0 {
		f.waiting = time.Now()
	}
	f.final = p.final
	moved := f.window.confirmed != before
	f.mu.Unlock()
	p.clear()
	if moved {
		wake.Signal(f.Progress)
	}
	return events, transactions
}

// Idle offers a position of the server's that counts if nothing is outstanding.
func (f *Tracker) Idle(walEnd pglogrepl.LSN) {
	f.mu.Lock()
	before := f.window.confirmed
	f.window.idle(walEnd)
	moved := f.window.confirmed != before
	f.mu.Unlock()
	if moved {
		wake.Signal(f.Progress)
	}
}

// Acked implements [Acks].
func (f *Tracker) Acked(runs []schema.Run, bytes int) {
	now := time.Now()
	f.mu.Lock()
	before := f.window.confirmed
	for _, run := range runs {
		f.acked += int64(run.Rows)
		if commit, done := f.window.ack(run.Tx, int(run.Rows)); done && commit != schema.NoTime {
			f.delivery.observe(now.Sub(time.UnixMicro(commit)))
		}
	}
	f.lastAck, f.waiting = now, now
	moved := f.window.confirmed != before
	f.mu.Unlock()
	f.Budget.give(bytes)
	if moved {
		wake.Signal(f.Progress)
	}
	wake.Signal(f.Changed)
}

// Rejected implements [Acks].
func (f *Tracker) Rejected(tx uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused == nil || tx < f.refused.Tx {
		f.refused = &Refusal{Tx: tx, Err: err}
	}
	if f.onRefuse != nil {
		f.onRefuse()
	}
	wake.Signal(f.Changed)
}

// Restart begins a new session's window, with onRefuse to be called when an event is refused. The old window must be drained.
func (f *Tracker) Restart(onRefuse func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.window.unacked != 0 {
		panic("inflight: a new session while the sink still holds events of the old one")
	}
	f.window = window{}
	f.onRefuse = onRefuse
	if f.refused != nil {
		onRefuse()
	}
}

// Confirmed returns how far everything is acked, and the commit time of the last transaction before that (0: none in this session).
func (f *Tracker) Confirmed() (lsn pglogrepl.LSN, commit int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.window.confirmed, f.window.committed
}

// Drained tells that the sink holds nothing.
func (f *Tracker) Drained() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.window.unacked == 0
}

// Refusal returns the first refused event in WAL order, nil if none was, and whether everything before its transaction is acked.
func (f *Tracker) Refusal() (r *Refusal, alone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused == nil {
		return nil, false
	}
	return f.refused, f.window.before(f.refused.Tx)
}

// Beyond returns the position to which the slot is advanced to pass unacked transaction tx by, 0 if it is unknown.
func (f *Tracker) Beyond(tx uint64) pglogrepl.LSN {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e := f.window.find(tx); {
	case e == nil:
		return 0
	case e.end != 0:
		return e.end
	}
	return JustBeyond(f.final)
}

// Latency returns the histogram of how long transactions took from their commit to their last ack, in seconds, as
// [prometheus.NewConstHistogram] takes it.
func (f *Tracker) Latency() (count uint64, sum float64, buckets map[float64]uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.delivery.count, f.delivery.sum, f.delivery.cumulative()
}

// load is what a flight tells for metrics and readiness.
type load struct {
	Unacked int64
	Acked   int64     // since the flight began
	Oldest  time.Time // commit of the oldest transaction that holds confirmed back; zero: none does
	Waiting time.Time // since when the sink holds events and has acked none; zero: it holds none
	LastAck time.Time
}

func (f *Tracker) Load() load {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := load{Unacked: f.window.unacked, Acked: f.acked, LastAck: f.lastAck}
	if f.window.unacked > 0 {
		l.Waiting = f.waiting
		if commit := f.window.oldest(); commit != 0 && commit != schema.NoTime {
			l.Oldest = time.UnixMicro(commit)
		}
	}
	return l
}

// JustBeyond returns the first position from which a transaction whose commit record starts at final is not decoded any more; every later
// one is.
func JustBeyond(final pglogrepl.LSN) pglogrepl.LSN { return final + 1 }
