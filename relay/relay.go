package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"walpost/internal/reason"
	"walpost/relay/inflight"
	"walpost/relay/parking"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/schema"
)

// Relay carries one slot's events. Create it with [New].
type Relay struct {
	cfg     Config
	log     *slog.Logger
	source  *postgres.Source
	budget  *inflight.Budget
	tracker *inflight.Tracker                                                  // the stream's; like the sink, it outlives sessions
	parker  *parking.Parker                                                    // the stream's
	load    func(ctx context.Context, holder string, at schema.Position) error // loadLetters, except in tests
	sink    Sink                                                               // the stream's; nil until it is opened
	metrics *metrics
	state   liveState
	watcher *watcher

	server      postgres.Peer // the server that was logged last
	unencrypted bool          // the last connection was not encrypted, and that has been logged
	risksLogged bool          // the risks of the server's settings have been logged

	streamed bool                 // this process has streamed from the slot before
	previous postgres.WalsenderID // the walsender of its last session
	timeout  postgres.Timeout

	filling   atomic.Pointer[parking.Parker] // the parker of the backfill that goes on; nil: none
	handed    atomic.Uint64                  // the end of the last transaction that the sink has in this session
	parkNames atomic.Pointer[pgerror.Names]  // for the errors of the parkers, which have goroutines of their own

	readOnly atomic.Bool // it has been logged that transactions are read-only by default, and not yet that they no longer are

	firstStartIsOurs bool // this process began the slot's first start: there was no trace of an earlier one
	backfillHanded   bool // a backfill of this process has handed rows to the sink
	repeatWarned     bool // it has been logged that rows are published twice
}

// New returns a relay, and registers its metrics. The relay does nothing until [Relay.Run].
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
	r.parkNames.Store(&pgerror.Names{})
	r.load = r.loadLetters
	r.parker = r.newParker(r.tracker, r.confirmed, r.handed.Load)
	r.watcher = newWatcher(r)
	r.state.set(Starting, reason.Starting, "connecting to Postgres")
	var err error
	r.metrics, err = newMetrics(cfg.Registerer, r.tracker, b)
	return r, errors.Join(err, registerSlot(cfg.Registerer, r.state.slot), registerParked(cfg.Registerer, r.parked))
}

// Run relays events until ctx is done. Then it stops cleanly and returns nil: it reads to the end of the current transaction, waits for
// acks, confirms them and ends the stream. All that takes at most ShutdownTimeout and about four seconds. A relay that waits or stands by
// stops at once.
//
// Any error that Run returns is permanent. Run may be called only once.
func (r *Relay) Run(ctx context.Context) error {
	defer startParker(ctx, r.parker)() // last of all: a stop waits until everything is parked
	defer r.closeSink()
	defer r.watcher.start(ctx)()
	var retry backoff
	for {
		err := r.attempt(ctx, &retry)
		r.state.lead(false)
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

// report shows that the relay waits or stands by. It logs the first time, and whenever the reason changes.
func (r *Relay) report(err error, standby bool, pause time.Duration) {
	code := pgerror.Reason(err)
	if standby {
		if r.state.set(Standby, code, err.Error()) {
			r.log.Info("standing by", "reason", code, "err", err)
		}
		return
	}
	if !r.state.set(Waiting, code, err.Error()) {
		return
	}
	pause = pause.Round(time.Millisecond)
	if w := (*pgerror.Wait)(nil); errors.As(err, &w) {
		r.log.Warn("waiting", "reason", code, "err", w.Err, "cure", w.Cure, "retry_in", pause)
		return
	}
	r.log.Warn("waiting", "reason", code, "err", err, "retry_in", pause)
}

// attempt connects, makes a first start if one is needed, and streams until the session ends.
func (r *Relay) attempt(ctx context.Context, retry *backoff) error {
	s, err := r.connect(ctx)
	if err != nil {
		return err
	}
	r.streamed = true
	begun := time.Now()
	err = s.run(ctx)
	if reason.Of(err) == "" && !pgerror.IsServerError(err) {
		err = reason.With(reason.StreamLost, err)
	}
	if time.Since(begun) > retryMost {
		retry.reset()
	}
	return err
}

// connect checks the database, makes a first start if one is needed, opens the sink, and takes the slot.
func (r *Relay) connect(ctx context.Context) (*session, error) {
	db, err := r.source.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var ready *postgres.Found
	var s *session
	err = r.timeout.Within(ctx, func(ctx context.Context) (err error) {
		r.endPrevious(ctx, db)
		ready, err = r.prepare(ctx, db)
		return r.source.Classify(err, pgerror.Preparing)
	})
	if err != nil {
		return nil, err
	}
	// Kafka may be away for long, so this is not under the time-out.
	if err := guarded(ctx, db, "the connection to Postgres", r.openSink); err != nil {
		return nil, err
	}
	err = r.timeout.Within(ctx, func(ctx context.Context) (err error) {
		s, err = r.openSession(ctx, db, ready)
		return err
	})
	return s, err
}

// openSink opens the stream's sink, unless it is open already.
func (r *Relay) openSink(ctx context.Context) (err error) {
	if r.sink == nil {
		if r.sink, err = r.cfg.OpenSink(ctx, r.parker); err != nil {
			return fmt.Errorf("open sink: %w", err)
		}
		r.parker.Serve(r.sink)
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
