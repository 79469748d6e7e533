package relay

import (
	"sync"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/schema"
)

// flight is what is under way between the reader, which hands passes over, the sink, which acks, and the confirmer, which asks how far
// Postgres may be told to forget: the window and the budget behind one lock. It implements [Acks].
//
// It outlives replication sessions, because what the sink holds does; each session gets a fresh window once the old one is drained.
type flight struct {
	budget   *budget
	progress chan struct{} // has a token when confirmed moved: for the confirmer
	changed  chan struct{} // has a token when something was acked or rejected: for the reader when it waits for that

	mu       sync.Mutex
	window   window
	final    pglogrepl.LSN // FinalLSN of the last transaction in window
	refused  *refusal
	onRefuse func()  // called at each refusal, under mu
	latency  latency // commit → ack
	acked    int64   // events, in all
	waiting  time.Time
	lastAck  time.Time
}

// refusal is an event that can never become a record.
type refusal struct {
	tx  uint64
	err error
}

func newFlight(b *budget) *flight {
	return &flight{budget: b, latency: newLatency(), progress: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

// handOver makes the window know what a pass saw, and clears the pass.
func (f *flight) handOver(p *pass) (events, transactions int) {
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
		signal(f.progress)
	}
	return events, transactions
}

// idle offers a position of the server's that counts if nothing is outstanding.
func (f *flight) idle(walEnd pglogrepl.LSN) {
	f.mu.Lock()
	before := f.window.confirmed
	f.window.idle(walEnd)
	moved := f.window.confirmed != before
	f.mu.Unlock()
	if moved {
		signal(f.progress)
	}
}

// Acked implements [Acks].
func (f *flight) Acked(runs []schema.Run, bytes int) {
	now := time.Now()
	f.mu.Lock()
	before := f.window.confirmed
	for _, run := range runs {
		f.acked += int64(run.Rows)
		if commit, done := f.window.ack(run.Tx, int(run.Rows)); done && commit != schema.NoTime {
			f.latency.observe(now.Sub(time.UnixMicro(commit)))
		}
	}
	f.lastAck, f.waiting = now, now
	moved := f.window.confirmed != before
	f.mu.Unlock()
	f.budget.give(bytes)
	if moved {
		signal(f.progress)
	}
	signal(f.changed)
}

// Rejected implements [Acks].
func (f *flight) Rejected(tx uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused == nil || tx < f.refused.tx {
		f.refused = &refusal{tx: tx, err: err}
	}
	if f.onRefuse != nil {
		f.onRefuse()
	}
	signal(f.changed)
}

// restart begins a new session's window, with onRefuse to be called when an event is refused. The old window must be drained.
func (f *flight) restart(onRefuse func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.window.unacked != 0 {
		panic("relay: a new session while the sink still holds events of the old one")
	}
	f.window = window{}
	f.onRefuse = onRefuse
	if f.refused != nil {
		onRefuse()
	}
}

// confirmed returns how far everything is acked, and the commit time of the last transaction before that (0: none in this session).
func (f *flight) confirmed() (lsn pglogrepl.LSN, commit int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.window.confirmed, f.window.committed
}

// drained tells that the sink holds nothing.
func (f *flight) drained() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.window.unacked == 0
}

// refusal returns the first refused event in WAL order, nil if none was, and whether everything before its transaction is acked.
func (f *flight) refusal() (r *refusal, alone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused == nil {
		return nil, false
	}
	return f.refused, f.window.before(f.refused.tx)
}

// beyond returns the position to which the slot is advanced to pass unacked transaction tx by, 0 if it is unknown.
func (f *flight) beyond(tx uint64) pglogrepl.LSN {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e := f.window.find(tx); {
	case e == nil:
		return 0
	case e.end != 0:
		return e.end
	}
	return justBeyond(f.final)
}

// load is what a flight tells for metrics and readiness.
type load struct {
	unacked int64
	acked   int64     // since the flight began
	oldest  time.Time // commit of the oldest transaction that holds confirmed back; zero: none does
	waiting time.Time // since when the sink holds events and has acked none; zero: it holds none
	lastAck time.Time
}

func (f *flight) load() load {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := load{unacked: f.window.unacked, acked: f.acked, lastAck: f.lastAck}
	if f.window.unacked > 0 {
		l.waiting = f.waiting
		if commit := f.window.oldest(); commit != 0 && commit != schema.NoTime {
			l.oldest = time.UnixMicro(commit)
		}
	}
	return l
}

// signal leaves a token in c unless one is there.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
