package parking

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"walpost/internal/reason"
	"walpost/relay/internal/wake"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/schema"
)

// Acks is what a parker reports to: the tracker.
type Acks interface {
	Acked(runs []schema.Run, bytes int)
	Rejected(tx uint64, err error)
}

// Replayer publishes dead letters again, in order, and acks each one under its Tx. A sink that cannot do so has no such method.
type Replayer interface {
	Replay(letters []*schema.DeadLetter)
}

// Config configures a [Parker]. All fields are required.
type Config struct {
	Slot     string
	Connect  func(context.Context) (*postgres.DB, error)
	Classify func(error) error // of the errors of its statements; any goroutine may call it
	Acks     Acks
	Reached  func() uint64 // the position that is confirmed: Postgres does not deliver again what lies before it
	Log      *slog.Logger
}

// Parker parks events, and publishes those that are given back. It is what a sink reports to. Its methods may be called from any goroutine.
type Parker struct {
	cfg  Config
	keys *keys
	wake chan struct{} // has a token when there is something to do
	look atomic.Bool   // the table may have dead letters of this slot, so Release looks for those that are given back

	mu      sync.Mutex
	queue   []*schema.DeadLetter // to be parked
	holder  string               // of the session that has the slot
	sink    Replayer             // nil: nothing is replayed
	replays map[uint64]*replay   // by Tx, while they are published
	nextTx  uint64

	waits   atomic.Pointer[string] // why the queue waits; nil: it does not
	told    atomic.Pointer[string] // why nothing is published, as it was logged; nil: it is not so
	letters atomic.Int64           // events that are parked, as last counted
}

// New returns a parker that does nothing until Run.
func New(cfg Config) *Parker {
	return &Parker{cfg: cfg, keys: newKeys(), wake: make(chan struct{}, 1), replays: map[uint64]*replay{}, nextTx: schema.ReplayTx}
}

// Sifting reports whether an event may have another verdict than Send.
func (p *Parker) Sifting() bool { return p.keys.sifting.Load() }

// Verdict returns what happens to an event.
func (p *Parker) Verdict(topic string, key []byte, at schema.Position, tx uint64) schema.Verdict {
	return p.keys.verdict(topic, key, at, tx&schema.ReplayTx != 0)
}

// Park takes events, in order.
func (p *Parker) Park(letters []*schema.DeadLetter) {
	for _, l := range letters {
		if l.Tx&schema.ReplayTx != 0 {
			if l.Held > 0 {
				p.cfg.Acks.Acked(nil, l.Held) // bytes of other events, which were in its batch
			}
			p.cameBack(l)
			continue
		}
		if p.keys.isSettled(l.At) { // a bad row that is delivered again
			p.cfg.Acks.Acked([]schema.Run{{Tx: l.Tx, Rows: 1}}, l.Held)
			continue
		}
		if !l.Head {
			l.Code = reason.KeyParked
		}
		if p.keys.hold(l) {
			p.cfg.Log.Warn("an event is parked, and later events of its topic and key wait behind it", "topic", l.Topic, "key", clip(l.Key), "event", clip(l.EventID),
				"position", l.At.String(), "reason", l.Code, "detail", l.Detail, "cure", "walpost dead-letter list")
		} else if l.Key == nil && l.Head {
			p.cfg.Log.Warn("an event without a key is parked", "topic", l.Topic, "event", clip(l.EventID), "position", l.At.String(), "reason", l.Code, "detail", l.Detail,
				"cure", "walpost dead-letter list")
		}
		p.mu.Lock()
		p.queue = append(p.queue, l)
		p.mu.Unlock()
	}
	wake.Signal(p.wake)
}

// Acked takes the acks of the sink: those of replayed events stay here, all others go to the tracker.
func (p *Parker) Acked(runs []schema.Run, bytes int) {
	if n := p.replayed(runs); n > 0 {
		others := make([]schema.Run, 0, len(runs)-n)
		for _, run := range runs {
			if run.Tx&schema.ReplayTx == 0 {
				others = append(others, run)
			}
		}
		runs = others
	}
	p.cfg.Acks.Acked(runs, bytes)
}

// Rejected passes a rejection on.
func (p *Parker) Rejected(tx uint64, err error) { p.cfg.Acks.Rejected(tx, err) }

// Hold sets the word that the session which has the slot has written to walpost.relay_state. With "" there is no such session. Then nothing
// is parked or published, and events that were to be parked are acked. That confirms nothing, because the window that they belong to has
// ended, and Postgres delivers them again. They must not be parked later: another relay may have the slot meanwhile, and publish them.
func (p *Parker) Hold(holder string) {
	p.mu.Lock()
	p.holder = holder
	p.mu.Unlock()
	wake.Signal(p.wake)
}

// Serve sets the sink that publishes what is given back.
func (p *Parker) Serve(sink any) {
	r, _ := sink.(Replayer)
	p.mu.Lock()
	p.sink = r
	p.mu.Unlock()
}

// Parked is what is parked at one moment.
type Parked struct {
	Events int64  // as last counted in the table, every second
	Keys   int    // keys whose events wait
	Waits  string // why events that are to be parked wait; "": they do not
}

// Parked returns what is parked.
func (p *Parker) Parked() Parked {
	parked := Parked{Events: p.letters.Load(), Keys: p.keys.count()}
	if w := p.waits.Load(); w != nil {
		parked.Waits = *w
	}
	return parked
}

// lookEvery is how often Release looks for dead letters that are given back.
const lookEvery = time.Second

// Run parks what Park brings, until ctx is done.
func (p *Parker) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
			p.empty(ctx)
		}
	}
}

// Limits of one transaction.
const (
	mostLetters = 1000
	mostBytes   = 4 << 20
)

// empty parks the queue.
func (p *Parker) empty(ctx context.Context) {
	var db *postgres.DB
	defer func() {
		if db != nil {
			db.Close()
		}
	}()
	pause := 50 * time.Millisecond
	for {
		letters, holder := p.first()
		if len(letters) == 0 {
			return
		}
		if holder == "" {
			p.parked(letters)
			continue
		}
		err := p.attempt(ctx, &db, holder, letters)
		switch {
		case err == nil:
			p.parked(letters)
			pause = 50 * time.Millisecond
			continue
		case ctx.Err() != nil:
			return
		}
		if db != nil {
			db.Close()
			db = nil
		}
		if !p.stillHolds(holder) {
			continue
		}
		if errors.Is(err, errFenced) {
			err = pgerror.Permanent(reason.SlotHeld, err, "start walpost again: it stands by, and the other relay reads these events again")
		}
		if err = p.cfg.Classify(err); pgerror.IsPermanent(err) {
			p.cfg.Acks.Rejected(p.lowestTx(), err)
			return
		}
		p.wait(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, 2*time.Second)
		}
	}
}

// attemptLimit is how long one attempt to park may take, with connecting.
const attemptLimit = 30 * time.Second

// attempt parks letters over db, which it opens if it is nil.
func (p *Parker) attempt(ctx context.Context, db **postgres.DB, holder string, letters []*schema.DeadLetter) (err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	if *db == nil {
		if *db, err = p.cfg.Connect(ctx); err != nil {
			return err
		}
	}
	return insert(ctx, *db, p.cfg.Slot, holder, letters, p.keys.isReleasing)
}

// first returns the letters of the next transaction, and the holder of the slot.
func (p *Parker) first() ([]*schema.DeadLetter, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, bytes := 0, 0
	for n < min(len(p.queue), mostLetters) && bytes < mostBytes {
		bytes += len(p.queue[n].Value)
		n++
	}
	return p.queue[:n:n], p.holder
}

// parked acks the first letters of the queue, which are committed now, or belong to a session that has ended.
func (p *Parker) parked(letters []*schema.DeadLetter) {
	if p.waits.Swap(nil) != nil {
		p.cfg.Log.Info("events are parked again")
	}
	p.look.Store(true)
	var runs []schema.Run
	bytes := 0
	for _, l := range letters {
		bytes += l.Held
		if n := len(runs); n > 0 && runs[n-1].Tx == l.Tx {
			runs[n-1].Rows++
		} else {
			runs = append(runs, schema.Run{Tx: l.Tx, Rows: 1})
		}
	}
	p.keys.written(letters)
	n := len(letters)
	p.mu.Lock()
	clear(letters)
	p.queue = p.queue[n:]
	if len(p.queue) == 0 {
		p.queue = nil
	}
	p.mu.Unlock()
	p.cfg.Acks.Acked(runs, bytes)
}

// lowestTx returns the first transaction, in WAL order, that has an event in the queue.
func (p *Parker) lowestTx() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	lowest := p.queue[0].Tx
	for _, l := range p.queue {
		lowest = min(lowest, l.Tx)
	}
	return lowest
}

// held returns the word of the session that has the slot, and the sink.
func (p *Parker) held() (holder string, sink Replayer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holder, p.sink
}

func (p *Parker) stillHolds(holder string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holder == holder
}

// wait shows and logs why the queue waits, once for each reason.
func (p *Parker) wait(err error) {
	text := err.Error()
	if old := p.waits.Swap(&text); old == nil || *old != text {
		p.cfg.Log.Warn("events cannot be parked; walpost tries again", "reason", pgerror.Reason(err), "err", err)
	}
}

// clip shortens a value for the log.
func clip(v []byte) string {
	const longest = 100
	if len(v) > longest {
		return string(v[:longest]) + "…"
	}
	return string(v)
}
