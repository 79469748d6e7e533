package parking

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/deadletter"
	"walpost/relay/internal/wake"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/schema"
)

// Acks is what a parker reports to: the tracker. Negative bytes are held from now on.
type Acks interface {
	Acked(runs []schema.Run, bytes int)
	Rejected(tx uint64, err error)
}

// Replayer publishes dead letters. A sink that cannot do so has no such methods.
type Replayer interface {
	// Replay publishes dead letters again, in order, and acks each one under its Tx. They go behind everything that was published before
	// them, or with first, before what has not been sent yet: then no older event of their keys waits.
	Replay(letters []*schema.DeadLetter, first bool)
	// Ready returns nil if a topic's partitions are known, and otherwise why not. Then the sink goes on asking for them.
	Ready(topic string) error
	// Oldest returns when the oldest event of a topic that the sink has was handed over; zero: it has none.
	Oldest(topic string) time.Time
	// ResumeTopic sends events of one topic, in order, before all events of the topic that are not sent yet, and acks each one under its Tx.
	// It calls flow at a moment at which no event of the partitions of these events gets a verdict. If it cannot do so now, or if flow returns
	// false, it does nothing and returns false.
	ResumeTopic(topic string, letters []*schema.DeadLetter, flow func() bool) bool
	// Abandon passes events that wait for their topics' partitions through the sieve again.
	Abandon()
	// Resume sends events of one key before all events of the key that are not sent yet, and acks each one under its Tx. like is one of
	// them. It calls flow, which returns them all, at a moment at which no event of the key gets a verdict. If it cannot do so now, or if flow
	// returns false, it does nothing and returns false. flow does so if its argument, which judges all of them, does.
	Resume(like *schema.DeadLetter, flow func(fit func([]*schema.DeadLetter) bool) ([]*schema.DeadLetter, bool)) bool
}

// Config configures a [Parker]. All fields are required, except Parks.
type Config struct {
	Slot     string
	Most     int64 // bytes of keys, values and headers that may be parked; 0: any number
	Parks    bool  // whether bad events are parked; otherwise it only knows which events have a dead letter from before
	Connect  func(context.Context) (*postgres.DB, error)
	Classify func(error) error // of the errors of its statements; any goroutine may call it
	Acks     Acks
	Reached  func() uint64 // the position that is confirmed: Postgres does not deliver again what lies before it
	Handed   func() uint64 // the position before which the sink has everything that Postgres has delivered in this session
	Log      *slog.Logger
}

// Parker parks events, and publishes those that are given back. It is what a sink reports to. Its methods may be called from any goroutine.
type Parker struct {
	cfg  Config
	keys *keys
	wake chan struct{} // has a token when there is something to do
	look atomic.Bool   // the table may have dead letters of this slot, so Release looks for those that are given back

	mu      sync.Mutex
	queue   queue              // to be parked
	holder  string             // of the session that has the slot
	sink    Replayer           // nil: nothing is replayed
	replays map[uint64]*replay // by Tx, while they are published
	nextTx  uint64

	absentFor time.Duration // the constant, except in tests

	told    map[string]*trouble // why nothing of a topic is published, or what was published is not recorded
	resting bool                // nothing more is published
	rounds  int                 // what is being published, and is not recorded yet
	rested  chan struct{}       // closed when there is none of it while resting

	sparing sparing                 // for events of which there may be many
	waits   atomic.Pointer[waiting] // why the queue waits; nil: it does not
	resumed atomic.Uint64           // from where Postgres has delivered in this session
	letters atomic.Int64            // events that wait for a person, as last counted
	bytes   atomic.Int64            // of these events, as last counted
	commits sync.RWMutex            // held from a commit until it is counted, and exclusively while a snapshot is taken
}

// New returns a parker that does nothing until Run.
func New(cfg Config) *Parker {
	return &Parker{cfg: cfg, keys: newKeys(), wake: make(chan struct{}, 1), replays: map[uint64]*replay{}, told: map[string]*trouble{}, nextTx: schema.ReplayTx, absentFor: absentFor}
}

// Parks reports whether bad events are parked.
func (p *Parker) Parks() bool { return p.cfg.Parks }

// Refused notes that an event can never be a record, and reports whether that counts.
func (p *Parker) Refused(at schema.Position, tx uint64) bool {
	return tx&schema.ReplayTx != 0 || p.keys.refuse(at)
}

// Sifting reports whether an event may have another verdict than Send.
func (p *Parker) Sifting() bool { return p.keys.sifting.Load() }

// Verdict returns what happens to an event.
func (p *Parker) Verdict(topic string, key []byte, at schema.Position, tx uint64) schema.Verdict {
	return p.keys.verdict(topic, key, at, tx&schema.ReplayTx != 0)
}

// Park takes events, in order.
func (p *Parker) Park(letters []*schema.DeadLetter) {
	waiting := 0
	for _, l := range letters {
		if l.Tx&schema.ReplayTx != 0 {
			if l.Held > 0 {
				p.cfg.Acks.Acked(nil, l.Held) // bytes of other events, which were in its batch
			}
			p.cameBack(l)
			continue
		}
		if !l.Blocked && p.keys.isSettled(l.At) { // a bad row that is delivered again
			p.cfg.Acks.Acked([]schema.Run{{Tx: l.Tx, Rows: 1}}, l.Held)
			continue
		}
		switch {
		case l.Blocked:
			l.Code, l.Detail = reason.TopicBlocked, p.keys.why(l.Topic)
		case !l.Head:
			l.Code = reason.KeyParked
		}
		l.Held += besidesRecord
		waiting += besidesRecord
		p.mu.Lock()
		tell, kept, back := p.keys.hold(l)
		p.queue.push(back...)
		switch {
		case kept:
		case l.Blocked:
			waiting -= p.queue.pushPacked(l)
		default:
			p.queue.push(l)
		}
		p.mu.Unlock()
		p.logParked(l, tell)
	}
	if waiting > 0 {
		p.cfg.Acks.Acked(nil, -waiting) // they hold more than before
	}
	wake.Signal(p.wake)
}

// besidesRecord is about how many bytes an event takes while it waits to be parked, besides its record.
const besidesRecord = 350

// logParked logs a key that is parked, once for each reason, and events without a key.
func (p *Parker) logParked(l *schema.DeadLetter, tell bool) {
	switch {
	case tell:
		p.log(l, "an event is parked, and later events of its topic and key wait behind it", 0)
	case l.Head && l.Key == nil:
		p.logSparingly(l, "an event without a key is parked")
	}
}

// logSparingly logs one of many events of a topic that are parked for the same reason.
func (p *Parker) logSparingly(l *schema.DeadLetter, what string) {
	if log, others := p.sparing.next(what + " " + l.Topic + " " + string(l.Code)); log {
		p.log(l, what, others)
	}
}

// log logs an event that is parked, and how many others are since the last such line.
func (p *Parker) log(l *schema.DeadLetter, what string, others int) {
	args := []any{"topic", l.Topic, "key", clip(l.Key), "event", clip(l.EventID), "position", l.At.String(), "reason", l.Code, "detail", l.Detail, "cure", "walpost dead-letter list"}
	if others > 0 {
		args = append(args, "others_since", others)
	}
	p.cfg.Log.Warn(what, args...)
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
// is parked or published, and events that the sink has not sent, or that were to be parked, are acked. That confirms nothing, because the window
// that they belong to has ended, and Postgres delivers them again. They must not be parked later: another relay may have the slot meanwhile, and
// publish them.
func (p *Parker) Hold(holder string) {
	p.mu.Lock()
	p.holder = holder
	if holder == "" {
		clear(p.told)
	}
	p.keys.end(holder == "")
	p.queue.push(p.keys.endAll()...)
	sink := p.sink
	p.mu.Unlock()
	wake.Signal(p.wake)
	if holder == "" && sink != nil {
		sink.Abandon()
	}
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
	Events     int64       // as last counted in the table
	Keys       int         // keys whose events wait
	Topics     []Waiting   // topics whose events wait, in the order of their names
	What       string      // what cannot be done with the table
	Waits      string      // why; "": it can
	WaitsCode  reason.Code // the same without names
	WaitsSince time.Time
}

// Why says what cannot be done with the table, and why; "": it can.
func (p *Parked) Why() string {
	if p.Waits == "" {
		return ""
	}
	return p.What + ": " + p.Waits
}

// Parked returns what is parked.
func (p *Parker) Parked() Parked {
	parked := Parked{Events: p.letters.Load(), Keys: p.keys.count(), Topics: p.keys.waiting()}
	slices.SortFunc(parked.Topics, func(a, b Waiting) int { return strings.Compare(a.Topic, b.Topic) })
	what, w := "events cannot be parked", p.waits.Load()
	if w == nil {
		what, w = notPublished, p.oldestTrouble()
	}
	if w != nil {
		parked.What, parked.Waits, parked.WaitsCode, parked.WaitsSince = what, w.text, w.code, w.since
	}
	return parked
}

// lookEvery is how often Release looks for dead letters that are given back.
const lookEvery = time.Second

// idleFor is how long Run keeps its connection after the last event. While events come, a connection for each transaction would cost Postgres more
// than the transactions.
const idleFor = time.Second

// Run parks what Park brings, until ctx is done.
func (p *Parker) Run(ctx context.Context) {
	c := p.connection()
	defer c.close()
	idle := time.NewTimer(idleFor)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
			p.empty(ctx, c)
			idle.Reset(idleFor)
		case <-idle.C:
			c.close()
		}
	}
}

// empty parks the queue. The connection may have been lost since it was used: then the second attempt opens another one.
func (p *Parker) empty(ctx context.Context, c *connection) {
	pause, fast := 50*time.Millisecond, true
	for {
		holder, waiting := p.next()
		if !waiting { // the session may have ended, or what waited is kept for a last step
			p.waits.Store(nil)
			return
		}
		if holder == "" {
			p.done(p.pick())
			continue
		}
		p.gather(ctx)
		err := p.room()
		if err == nil {
			err = p.attempt(ctx, c, holder, fast)
		}
		if err != nil && fast && ctx.Err() == nil { // a row may be there already, if the answer to a commit was lost
			fast = false
			continue
		}
		switch {
		case err == nil:
			pause, fast = 50*time.Millisecond, true
			continue
		case ctx.Err() != nil:
			return
		}
		if !p.stillHolds(holder) {
			continue
		}
		if errors.Is(err, errFenced) {
			err = pgerror.Permanent(reason.SlotHeld, err, "start walpost again: it stands by, and the other relay reads these events again")
		}
		if err = p.cfg.Classify(err); pgerror.IsPermanent(err) {
			if tx, found := p.lowestTx(); found {
				p.cfg.Acks.Rejected(tx, err)
			}
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

// gatherFor is how long letters wait for others, with which they share a transaction. A transaction costs Postgres and the relay as much as a
// hundred of its rows.
const gatherFor = 20 * time.Millisecond

// gather waits for more letters, if those of the queue do not fill a transaction.
func (p *Parker) gather(ctx context.Context) {
	p.mu.Lock()
	fills := p.queue.fills()
	p.mu.Unlock()
	if fills {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(gatherFor):
	}
}

// attempt parks the first letters of the queue, and acks them. It takes them only when it has the lock without which nobody parks: a key
// whose last step began before that has none in the queue.
// fast says that none of them can be in the table already.
func (p *Parker) attempt(ctx context.Context, c *connection, holder string, fast bool) error {
	var letters []*schema.DeadLetter
	return c.commit(ctx, holder, func(ctx context.Context, tx pgx.Tx) error {
		if letters = p.pick(); len(letters) == 0 {
			return nil
		}
		if fast && !p.keys.mayRepeat() && !slices.ContainsFunc(letters, func(l *schema.DeadLetter) bool { return !l.Blocked }) {
			return copyIn(ctx, tx, p.cfg.Slot, letters)
		}
		return insert(ctx, tx, p.cfg.Slot, letters, p.keys.isReleasing)
	}, func() { p.written(letters) })
}

// room returns an error if as much is parked as may be.
func (p *Parker) room() error {
	if n := p.bytes.Load() + p.keys.bytes(); p.cfg.Most > 0 && n >= p.cfg.Most {
		return reason.With(reason.ParkedLimit, fmt.Errorf("%d bytes are parked in walpost.dead_letters, and outbox.max_parked_bytes is %d: see walpost dead-letter list --group, and create the topics, or give events back or up", n, p.cfg.Most))
	}
	return nil
}

// next returns the holder of the slot, and reports whether something is to be parked.
func (p *Parker) next() (holder string, waiting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holder, !p.queue.empty()
}

// pick takes the letters of the next transaction. They stay in the queue until written.
func (p *Parker) pick() []*schema.DeadLetter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.pick()
}

// written acks the letters that were picked, which are committed now.
func (p *Parker) written(letters []*schema.DeadLetter) {
	if p.waits.Swap(nil) != nil {
		p.cfg.Log.Info("events are parked again")
	}
	p.look.Store(true)
	p.keys.forgetRefused(letters)
	p.done(letters)
}

// done acks the letters that were picked, which are committed now, or belong to a session that has ended.
func (p *Parker) done(letters []*schema.DeadLetter) {
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
	n := len(letters)
	p.mu.Lock()
	p.bytes.Add(p.keys.written(letters))
	p.queue.drop(n)
	p.mu.Unlock()
	if n > 0 {
		p.cfg.Acks.Acked(runs, bytes)
	}
}

// keep begins the last step of keys, whose events stay in memory from now on. Its caller holds the lock without which nobody parks. A key is
// left out if an event of it that was picked may be in the table already, or one was refused.
func (p *Parker) keep(names []name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := make(map[name][]*schema.DeadLetter, len(names))
	for _, n := range names {
		if p.keys.mayKeep(n) {
			kept[n] = nil
		}
	}
	p.queue.each(func(l *schema.DeadLetter, picked bool) {
		if picked || l.Head {
			delete(kept, nameOf(l))
		}
	})
	for _, l := range p.queue.take(func(l *schema.DeadLetter) bool { _, found := kept[nameOf(l)]; return found && l.Key != nil }) {
		kept[nameOf(l)] = append(kept[nameOf(l)], l)
	}
	for n, letters := range kept {
		p.keys.keep(n, letters)
	}
}

// endLast ends the last steps of keys: what was kept goes to the table.
func (p *Parker) endLast(names []name) {
	p.mu.Lock()
	p.queue.push(p.keys.endLast(names)...)
	p.mu.Unlock()
	wake.Signal(p.wake)
}

// lowestTx returns the first transaction, in WAL order, that has an event in the queue, or one that is kept.
func (p *Parker) lowestTx() (lowest uint64, found bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue.push(p.keys.endAll()...)
	return p.queue.lowestTx()
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

// waiting is why the queue waits, or why nothing of a topic is published.
type waiting struct {
	text    string
	code    reason.Code
	since   time.Time
	alarmed time.Time // when the log last had an error of it
}

// rings reports whether an alarm is due, and notes that it was given.
func (w *waiting) rings() bool {
	if time.Since(w.since) < alarmAfter || time.Since(w.alarmed) < alarmAgain {
		return false
	}
	w.alarmed = time.Now()
	return true
}

// An alarm is an error in the log, when the queue has waited for alarmAfter, and again after alarmAgain while it goes on.
const (
	alarmAfter = 10 * time.Second
	alarmAgain = 10 * time.Minute
)

// wait shows and logs why the queue waits, once for each reason.
func (p *Parker) wait(err error) {
	w := waiting{text: err.Error(), code: pgerror.Reason(err), since: time.Now()}
	old := p.waits.Load()
	if old != nil {
		w.since, w.alarmed = old.since, old.alarmed
	}
	switch waits := time.Since(w.since); {
	case w.rings():
		p.cfg.Log.Error("events cannot be parked: they wait in memory, and the slot keeps WAL; walpost tries again", "reason", w.code, "err", err, "for", waits.Round(time.Second))
	case old == nil || old.text != w.text:
		p.cfg.Log.Warn("events cannot be parked; walpost tries again", "reason", w.code, "err", err)
	}
	p.waits.Store(&w)
}

// clip shortens a value for the log.
func clip(v []byte) string {
	const longest = 100
	if len(v) > longest {
		return string(v[:longest]) + "…"
	}
	return string(v)
}

// Load reads what the table has of the slot, at the beginning of a session in which nothing is in flight. holder is the session's word, and
// confirmed the position from which Postgres delivers again. From here on, events are parked and published.
func (p *Parker) Load(ctx context.Context, db *postgres.DB, holder string, confirmed schema.Position) error {
	var t *table
	err := inTx(ctx, db.Conn, p.cfg.Slot, holder, "25s", func(ctx context.Context, tx pgx.Tx) (err error) {
		if err = deadletter.RepairStates(ctx, tx, p.cfg.Slot); err != nil {
			return err
		}
		t, err = readTable(ctx, tx, p.cfg.Slot, confirmed)
		return err
	})
	if err != nil {
		return err
	}
	p.loaded(t, holder, confirmed)
	return nil
}

// LoadNothing does what Load does, for a role that may not read the table and so has parked nothing.
func (p *Parker) LoadNothing(holder string, confirmed schema.Position) {
	p.loaded(&table{}, holder, confirmed)
}

// loaded begins a session with what the table has.
func (p *Parker) loaded(t *table, holder string, confirmed schema.Position) {
	p.keys.replace(t)
	p.resumed.Store(confirmed.LSN)
	p.letters.Store(t.events)
	p.bytes.Store(t.bytes)
	p.look.Store(true) // to find what has no key as well
	p.Hold(holder)
	if len(t.parked) > 0 {
		p.cfg.Log.Info("events of some keys are parked", "keys", len(t.parked))
	}
	for _, w := range t.topics {
		p.cfg.Log.Warn("events of a topic are parked until the topic takes records", "topic", w.Topic, "reason", w.Code)
	}
}
