package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/relay/inflight"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/schema"
)

// Acks is what a sink reports to. Its methods may be called from any goroutine and do not block.
type Acks interface {
	// Acked reports that the events of runs are durable in the sink, which held bytes for them. Each published event is reported once.
	// runs is not kept.
	Acked(runs []schema.Run, bytes int)

	// Rejected reports that an event of transaction tx can never be delivered, and why. It counts as unacked for good.
	Rejected(tx uint64, err error)
}

// Sink takes events in order. Its methods are called from one goroutine.
type Sink interface {
	// Publish takes one event of transaction tx and returns how many bytes it holds until the event is acked. The event is a view that
	// is valid until Publish returns. An error means that the event can never be delivered: it is not held. One that has a method Incurable
	// returning true says that no setting can be corrected to change that.
	Publish(ev *schema.Event, tx uint64) (bytes int, err error)

	// Flush lets go what was published since the last Flush. Nothing of it was acked before. With flowing, more will be flushed within
	// milliseconds, as far as anybody can tell: the sink may wait that long for it, to make its requests large.
	Flush(flowing bool)

	// Close stops the sink. What it still holds is neither acked nor rejected.
	Close() error
}

// Config says what a relay works on. Slot, Publication, Table, Mapping, OpenSink, Logger and Registerer are required.
type Config struct {
	postgres.Config

	Backfill   string // what happens to rows that are there at the first start: "publish" (or "") or "skip"
	OnBadEvent string // "park" acts as "halt": the relay stops with a reason before the event

	MaxInFlightBytes int64         // what the sink may hold; one event may be larger. 0: 32 MiB
	ShutdownTimeout  time.Duration // how long leaving waits for acks. 0: 10 s

	// OpenSink opens a sink that reports to acks. It is called for the stream, and for a backfill, each time anew. ctx bounds the opening
	// and not the sink, which has to live on while the relay leaves. An error that has a method Permanent returning true ends Run, any
	// other is retried.
	OpenSink func(ctx context.Context, acks Acks) (Sink, error)

	Registerer prometheus.Registerer
}

func (c *Config) check() error {
	var errs []error
	require := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("relay: "+what))
		}
	}
	require(c.Slot != "", "no slot")
	require(c.Publication != "", "no publication")
	require(c.Table != schema.Table{}, "no table")
	require(c.OpenSink != nil, "no sink")
	require(c.Logger != nil, "no logger")
	require(c.Registerer != nil, "no metrics registerer")
	require(c.Backfill == "" || c.Backfill == "publish" || c.Backfill == "skip", fmt.Sprintf("backfill is %q, which is neither publish nor skip", c.Backfill))
	require(c.MaxInFlightBytes >= 0, "a negative byte budget")
	return errors.Join(errs...)
}

// Relay carries one slot's events. Create it with [New].
type Relay struct {
	cfg     Config
	log     *slog.Logger
	source  *postgres.Source
	budget  *inflight.Budget
	tracker *inflight.Tracker // the stream's; it outlives sessions as the sink does
	sink    Sink              // the stream's; nil until it is opened
	metrics *metrics
	status  status
	watcher *watcher

	streamed bool   // this process has had the slot once
	former   former // its last session with the server
	timeout  postgres.Timeout

	alone  bool // this process began the slot's first start: nothing was there of an earlier one
	filled bool // a backfill of this process has handed rows to the sink
	warned bool // of rows that are published twice
}

// New returns a relay that does nothing until [Relay.Run]. Its metrics exist from now on.
func New(cfg Config) (*Relay, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.MaxInFlightBytes == 0 {
		cfg.MaxInFlightBytes = 32 << 20
	}
	if cfg.ShutdownTimeout == 0 {
		cfg.ShutdownTimeout = 10 * time.Second
	}
	b := inflight.NewBudget(cfg.MaxInFlightBytes)
	r := &Relay{cfg: cfg, log: cfg.Logger, source: postgres.NewSource(cfg.Config), budget: b, tracker: inflight.NewTracker(b)}
	r.watcher = newWatcher(r)
	r.status.set(Starting, "connecting to Postgres")
	var err error
	r.metrics, err = newMetrics(cfg.Registerer, r.tracker, b)
	return r, errors.Join(err, registerSlot(cfg.Registerer, r.status.slot))
}

// Run relays until ctx is done, and then leaves cleanly: it reads on to the end of the transaction at hand, waits for acks, confirms and
// ends the stream, all within ShutdownTimeout and a few seconds, and returns nil. A relay that waits or stands by leaves at once.
//
// Any error it returns is permanent. It is called once.
func (r *Relay) Run(ctx context.Context) error {
	if r.cfg.OnBadEvent == "park" {
		r.log.Info("on_bad_event: park acts as halt: an event that Kafka can never take stops the relay with a reason")
	}
	defer r.closeSink()
	defer r.watcher.start(ctx)()
	var retry backoff
	for {
		err := r.attempt(ctx, &retry)
		r.status.lead(false)
		r.metrics.leader.Set(0)
		r.metrics.connected.Set(0)
		switch {
		case pgerror.IsPermanent(err):
			return err
		case ctx.Err() != nil:
			return nil
		}
		standby := pgerror.SlotBusy(err) || errors.Is(err, errStandby)
		pause := retry.next()
		r.report(err, standby, pause)
		if !standby {
			r.metrics.retries.Inc()
			if r.source.Connected {
				r.metrics.reconnects.Inc()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// report makes a wait visible: the first time and whenever the reason changes, it is worth a line.
func (r *Relay) report(err error, standby bool, pause time.Duration) {
	if standby {
		if r.status.set(Standby, err.Error()) {
			r.log.Info("standing by", "reason", err)
		}
		return
	}
	if !r.status.set(Waiting, err.Error()) {
		return
	}
	pause = pause.Round(time.Millisecond)
	if w := (*pgerror.Wait)(nil); errors.As(err, &w) {
		r.log.Warn("waiting", "reason", w.Err, "cure", w.Cure, "retry_in", pause)
		return
	}
	r.log.Warn("waiting", "reason", err, "retry_in", pause)
}

// attempt connects, makes a first start if this is one, and streams until something ends that.
func (r *Relay) attempt(ctx context.Context, retry *backoff) error {
	s, err := r.connect(ctx)
	if err != nil {
		return err
	}
	r.streamed = true
	begun := time.Now()
	err = s.run(ctx)
	if time.Since(begun) > retryMost {
		retry.reset()
	}
	return err
}

// connect makes sure that there is something to stream from and to, and takes the slot.
func (r *Relay) connect(ctx context.Context) (*session, error) {
	db, err := r.source.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var ready *postgres.Found
	var s *session
	err = r.timeout.Within(ctx, func(ctx context.Context) (err error) {
		r.endFormer(ctx, db)
		ready, err = r.prepare(ctx, db)
		return r.source.Classify(err, pgerror.Preparing)
	})
	if err != nil {
		return nil, err
	}
	if err := r.openSink(ctx); err != nil {
		return nil, err
	}
	err = r.timeout.Within(ctx, func(ctx context.Context) (err error) {
		s, err = r.openSession(ctx, db, ready)
		return err
	})
	return s, err
}

// openSink opens the stream's sink unless that is done.
func (r *Relay) openSink(ctx context.Context) (err error) {
	if r.sink == nil {
		if r.sink, err = r.cfg.OpenSink(ctx, r.tracker); err != nil {
			return fmt.Errorf("open sink: %w", err)
		}
	}
	return nil
}

func (r *Relay) closeSink() {
	if r.sink == nil {
		return
	}
	if err := r.sink.Close(); err != nil {
		r.log.Warn("close sink", "error", err)
	}
}
