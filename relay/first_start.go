package relay

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/backfill"
	"walpost/relay/inflight"
	"walpost/relay/parking"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
)

// firstStart is one attempt to create the slot and to publish the rows that were in the outbox before. These rows are messages that nobody
// has sent yet.
//
// It records the phase first. If this relay dies half-way, the recorded phase tells the next one to begin the backfill again, from a new
// snapshot. Some rows may then be published twice, but otherwise rows could be lost. An advisory lock keeps two relays from making the
// first start at the same time. The lock belongs to the relay's own connection, and the same connection records the phases, so that no
// relay records a phase without the lock.
type firstStart struct {
	*Relay
	found      *postgres.Found
	snapshot   pglogrepl.LSN   // where the slot began, as an earlier attempt recorded it; 0: not recorded
	unrecorded bool            // walpost.relay_state had no row for the slot when this attempt got the lock
	begun      bool            // now it has one, from this attempt
	filler     *parking.Parker // the backfill's, not the stream's; nil: it is skipped
	endFiller  func()
}

// run makes the first start under the lock. db keeps the lock until it is closed.
func (r *firstStart) run(ctx context.Context, db *postgres.DB) error {
	if err := r.lock(ctx, db); err != nil {
		return err
	}
	r.timeout.Suspend()
	defer r.timeout.Resume()
	r.metrics.connected.Set(1)
	err := r.make(ctx, db)
	if r.begun && pgerror.IsServerError(err) {
		r.undo(ctx, db)
	}
	return err
}

// undo removes the phase that this first start recorded, after the server has refused to create the slot, and so will not create it later.
// It needs the lock: without it, the phase could belong to another relay's first start. A failure does no harm.
func (r *firstStart) undo(ctx context.Context, db *postgres.DB) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if err := postgres.DeletePhase(ctx, db, r.cfg.Slot); err != nil {
		r.log.Warn("walpost.relay_state keeps the row of a first start that failed", "slot", r.cfg.Slot, "err", err)
	}
}

// undoLimit is how long undo may take, also while walpost stops.
const undoLimit = 2 * time.Second

// make makes the first start. db has the lock.
func (r *firstStart) make(ctx context.Context, db *postgres.DB) error {
	// The sink comes before the slot, because a slot keeps WAL from its first moment. If Kafka is away, or refuses the relay, nothing has
	// been created yet.
	var b *backfill.Backfill
	err := guarded(ctx, db, lockConnection, func(ctx context.Context) (err error) {
		b, err = r.openBackfill(ctx)
		return err
	})
	if err != nil {
		return err
	}
	defer r.closeBackfill(b)
	// This connection comes before the slot, too: otherwise the relay would notice only after creating the slot that the server has no
	// connection left.
	reader, err := r.source.Open(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()
	if err := reader.RequirePrimary(ctx); err != nil { // a standby cannot import the snapshot
		return err
	}
	w, srv, err := r.connectWalsender(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := postgres.WritePhase(ctx, db, r.cfg.Slot, postgres.PhaseBackfilling, srv.Identity(), r.found.Table.OID); err != nil {
		return r.source.Classify(err, pgerror.Recording)
	}
	r.begun = r.unrecorded
	r.firstStartIsOurs = r.firstStartIsOurs || r.begun && r.found.Slot == nil
	var snap replication.Snapshot
	err = guarded(ctx, db, lockConnection, func(ctx context.Context) error {
		return guarded(ctx, reader, "the backfill's connection", func(ctx context.Context) (err error) {
			snap, err = r.createSlot(ctx, w, srv.Version)
			return err
		})
	})
	if err != nil {
		return r.source.Classify(err, pgerror.Creating)
	}
	if err := postgres.WriteSnapshot(ctx, db, r.cfg.Slot, snap.LSN); err != nil {
		return err
	}
	if err := r.loadParked(ctx, db, backfill.PositionOf(&srv, snap)); err != nil {
		return r.source.Classify(err, pgerror.Parking)
	}
	began, err := r.began(snap)
	if err != nil {
		return err
	}
	var held *slotHold
	err = guarded(ctx, db, lockConnection, func(ctx context.Context) error {
		return b.Run(ctx, reader, r.found, &srv, snap, func() (err error) {
			held, err = r.hold(ctx, w, &srv)
			return err
		})
	})
	if held != nil {
		held.release(ctx, db)
	}
	if err != nil {
		return err
	}
	if err := r.checkHeld(ctx, db, began); err != nil {
		return err
	}
	return postgres.WritePhase(ctx, db, r.cfg.Slot, postgres.PhaseStreaming, srv.Identity(), r.found.Table.OID)
}

// openBackfill opens the sink of a first start: the backfill's own sink, or the stream's sink if the backfill is skipped.
func (r *firstStart) openBackfill(ctx context.Context) (*backfill.Backfill, error) {
	cfg := backfill.Config{
		Source: r.source, Tracker: inflight.NewTracker(r.budget), Status: func(text string) { r.state.set(Starting, reason.Backfill, text) },
		Rows: r.metrics.backfillRows, Done: r.metrics.backfillDone, Logger: r.log,
	}
	r.metrics.filling.Store(cfg.Tracker)
	if cfg.Skip = r.cfg.Backfill == "skip"; cfg.Skip {
		return backfill.New(cfg), r.openSink(ctx)
	}
	r.filler, r.endFiller = r.backfillParker(ctx, cfg.Tracker)
	sink, err := r.cfg.OpenSink(ctx, r.filler)
	if err != nil {
		r.endFiller()
		return nil, fmt.Errorf("open sink for the backfill: %w", err)
	}
	r.filler.Serve(sink)
	cfg.Sink = sink
	return backfill.New(cfg), nil
}

func (r *firstStart) closeBackfill(b *backfill.Backfill) {
	r.metrics.filling.Store(nil)
	b.Close()
	if r.endFiller != nil {
		r.endFiller()
	}
	r.backfillHanded = r.backfillHanded || b.Handed() > 0
}

// lock takes the lock and checks that nothing has changed in the meantime.
func (r *firstStart) lock(ctx context.Context, db *postgres.DB) error {
	locked, err := db.LockSlot(ctx, r.cfg.Slot)
	if err != nil {
		return err
	}
	if !locked {
		return errStandby
	}
	state, err := postgres.ReadState(ctx, db, r.cfg.Slot)
	if err != nil {
		return err
	}
	slot, err := r.source.ReadSlot(ctx, db)
	if err != nil {
		return err
	}
	if state != nil && state.Phase == postgres.PhaseStreaming || (slot == nil) != (r.found.Slot == nil) {
		return errStandby // another relay has created or dropped it meanwhile: check everything again
	}
	if r.unrecorded = state == nil; state != nil {
		r.snapshot = state.Snapshot
	}
	if r.found.Slot = slot; slot != nil && slot.Active {
		// The relay that had the lock has died. A server that still waits for transactions has not noticed, and may yet drop the unfinished
		// slot.
		return fmt.Errorf("slot %s is held by server process %d of an unfinished first start: waiting until that process ends", r.cfg.Slot, slot.PID)
	}
	return nil
}

// guardEvery is how often guarded queries a connection, and guardLimit how long the server may take to answer. The interval is short
// because a proxy or firewall in between may drop an idle connection after seconds.
const (
	guardEvery = time.Second
	guardLimit = 10 * time.Second
)

// lockConnection is the name of a first start's connection in errors. If the connection breaks, the lock is gone, and another relay may
// make the same first start. The backfill's own connection is then dead as well, even if nobody is reading it at the moment.
const lockConnection = "the connection that has the lock of the first start"

// guarded calls do, which may take long and does not use db. Meanwhile it queries db every second. If that connection breaks, the context
// of do ends. name names the connection in errors. The queries also keep the connection from being idle, so that it can still be used
// afterwards.
func guarded(ctx context.Context, db *postgres.DB, name string, do func(context.Context) error) error {
	locked, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(guardEvery)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			// Cancelling a query would close the connection, so the end of do does not cancel it.
			limited, done := context.WithTimeout(ctx, guardLimit)
			_, err := db.Exec(limited, "select 1", pgx.QueryExecModeSimpleProtocol)
			done()
			if err != nil {
				cancel(fmt.Errorf("%s broke: %w", name, err))
				return
			}
		}
	})
	err := do(locked)
	close(ended)
	watch.Wait()
	if err != nil && ctx.Err() == nil && locked.Err() != nil {
		return context.Cause(locked)
	}
	return err
}

// createSlot creates the slot, with a snapshot of the moment at which it begins. If a first start that died has left the slot, createSlot
// creates a temporary slot to get a later snapshot; the slot itself keeps everything since it was created. The returned position is the one
// at which the slot began.
func (r *firstStart) createSlot(ctx context.Context, w *replication.Walsender, version int) (replication.Snapshot, error) {
	waiting := func(text string) { r.state.set(Starting, reason.SlotWaits, text) }
	if r.found.Slot == nil {
		s, err := w.CreateSlot(ctx, r.cfg.Slot, false, version, waiting)
		if err == nil {
			r.log.Info("created slot", "slot", r.cfg.Slot, "from", s.LSN.String())
		}
		return s, err
	}
	if err := r.source.CheckSlot(r.found.Slot, nil); err != nil {
		return replication.Snapshot{}, err
	}
	r.warnOfRepeat()
	name := fmt.Sprintf("walpost_backfill_%d", w.PID())
	s, err := w.CreateSlot(ctx, name, true, version, waiting)
	if err != nil {
		return s, err
	}
	// The rows get the position at which the slot began. The position of the later snapshot would be higher than those of events that the
	// slot brings afterwards, and a consumer that remembers the highest position would drop these events.
	if s.LSN = r.snapshot; s.LSN == 0 {
		s.LSN, err = pglogrepl.ParseLSN(r.found.Slot.Confirmed)
	}
	return s, err
}

// warnOfRepeat logs once that the backfill begins again, unless the unfinished first start cannot have published anything.
func (r *Relay) warnOfRepeat() {
	if r.repeatWarned || r.firstStartIsOurs && !r.backfillHanded {
		return
	}
	r.repeatWarned = true
	r.log.Warn("an earlier first start did not finish: the backfill begins again, and rows that it has already published come twice")
}
