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
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
)

// Relay carries one slot's events. Create it with [New].
type Relay struct {
	cfg     Config
	log     *slog.Logger
	source  *postgres.Source
	budget  *inflight.Budget
	tracker *inflight.Tracker // the stream's; it outlives sessions as the sink does
	sink    Sink              // the stream's; nil until it is opened
	metrics *metrics
	state   liveState
	watcher *watcher

	server      postgres.Peer // where the last session was, as the log has it
	unencrypted bool          // the last connection was not, and that has been logged
	risksTold   bool          // what else is risky has been logged

	streamed bool                 // this process has had the slot once
	previous postgres.WalsenderID // its last session with the server
	timeout  postgres.Timeout

	readOnly atomic.Bool // that transactions are read-only by default has been logged, and not yet that they may write again

	firstStartIsOurs bool // this process began the slot's first start: nothing was there of an earlier one
	backfillHanded   bool // a backfill of this process has handed rows to the sink
	repeatWarned     bool // that rows are published twice has been logged
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
	r.state.set(Starting, reason.Starting, "connecting to Postgres")
	var err error
	r.metrics, err = newMetrics(cfg.Registerer, r.tracker, b)
	return r, errors.Join(err, registerSlot(cfg.Registerer, r.state.slot))
}

// Run relays until ctx is done, and then leaves cleanly: it reads on to the end of the transaction at hand, waits for acks, confirms and
// ends the stream, all within ShutdownTimeout and about four seconds, and returns nil. A relay that waits or stands by leaves at once.
//
// Any error it returns is permanent. It is called once.
func (r *Relay) Run(ctx context.Context) error {
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

// report makes a wait visible: the first time and whenever the reason changes, it is worth a line.
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

// attempt connects, makes a first start if this is one, and streams until something ends that.
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
		r.endPrevious(ctx, db)
		ready, err = r.prepare(ctx, db)
		return r.source.Classify(err, pgerror.Preparing)
	})
	if err != nil {
		return nil, err
	}
	// Kafka may be away for long.
	if err := guarded(ctx, db, "the connection to Postgres", r.openSink); err != nil {
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
