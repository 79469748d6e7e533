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
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
)

// firstStart is one attempt to make the slot and to publish the rows that were in the outbox before it: they are unsent messages.
//
// The phase is recorded first. If this relay dies half-way, the next one knows by it to begin the backfill again, from a new snapshot: rows
// that are published twice are duplicates, and rows that were never published would be lost. The lock keeps two relays apart. It lives on
// the relay's own connection, over which the phases are recorded, so that nobody records one without it.
type firstStart struct {
	*Relay
	found      *postgres.Found
	snapshot   pglogrepl.LSN // where the slot began, as an earlier attempt recorded it; 0: it did not
	unrecorded bool          // walpost.relay_state had nothing of the slot when the lock was had
	begun      bool          // and now it has, from this attempt
}

// run makes the first start, under the lock, which db keeps until it is closed.
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

// undo removes the phase that this first start recorded, when the server refused the slot and so will not make it later. It needs the lock, or
// the phase could be that of another relay's first start. It does no harm if it fails.
func (r *firstStart) undo(ctx context.Context, db *postgres.DB) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if err := postgres.DeletePhase(ctx, db, r.cfg.Slot); err != nil {
		r.log.Warn("a first start that came to nothing stays recorded in walpost.relay_state", "slot", r.cfg.Slot, "err", err)
	}
}

// undoLimit is how long undo may take, also while walpost is leaving.
const undoLimit = 2 * time.Second

// make makes the first start. The caller has the lock, by db.
func (r *firstStart) make(ctx context.Context, db *postgres.DB) error {
	// Before the slot, which keeps WAL from its first moment: where Kafka is away, or refuses the relay, nothing is made yet.
	var b *backfill.Backfill
	err := guarded(ctx, db, lockConnection, func(ctx context.Context) (err error) {
		b, err = r.openBackfill(ctx)
		return err
	})
	if err != nil {
		return err
	}
	defer r.closeBackfill(b)
	// Before the slot, too: a server that has no connection left for it would otherwise be found out when the slot is made.
	reader, err := r.source.Open(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()
	if err := reader.RequirePrimary(ctx); err != nil { // a standby does not know the snapshot
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

// openBackfill opens the sink of a first start: the backfill's own, or the stream's if there is nothing to fill.
func (r *firstStart) openBackfill(ctx context.Context) (*backfill.Backfill, error) {
	cfg := backfill.Config{
		Source: r.source, Tracker: inflight.NewTracker(r.budget), Status: func(text string) { r.state.set(Starting, reason.Backfill, text) },
		Rows: r.metrics.backfillRows, Done: r.metrics.backfillDone, Logger: r.log,
	}
	r.metrics.filling.Store(cfg.Tracker)
	if cfg.Skip = r.cfg.Backfill == "skip"; cfg.Skip {
		return backfill.New(cfg), r.openSink(ctx)
	}
	sink, err := r.cfg.OpenSink(ctx, cfg.Tracker)
	if err != nil {
		return nil, fmt.Errorf("open sink for the backfill: %w", err)
	}
	cfg.Sink = sink
	return backfill.New(cfg), nil
}

func (r *firstStart) closeBackfill(b *backfill.Backfill) {
	r.metrics.filling.Store(nil)
	b.Close()
	r.backfillHanded = r.backfillHanded || b.Handed() > 0
}

// lock takes the lock and makes sure that nothing had changed by then.
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
		return errStandby // it was made meanwhile: look again
	}
	if r.unrecorded = state == nil; state != nil {
		r.snapshot = state.Snapshot
	}
	if r.found.Slot = slot; slot != nil && slot.Active {
		// Whoever had the lock died, and a server that waits for transactions has not noticed yet. Its slot may still come to nothing.
		return fmt.Errorf("slot %s is held by server process %d, of a first start that did not end: waiting until that is gone", r.cfg.Slot, slot.PID)
	}
	return nil
}

// How often a connection is looked after by guarded, and how long the server may take to answer. Something in between may give an
// idle connection up after seconds.
const (
	guardEvery = time.Second
	guardLimit = 10 * time.Second
)

// lockConnection is the name of a first start's connection in errors. Without the lock another relay may be making the same first start; and
// when this connection is dead, the backfill's own is dead too, even if nobody reads it at the moment.
const lockConnection = "the connection that has the lock of the first start"

// guarded calls do, which may take long and does not use db, and watches db meanwhile: the context of do ends with that connection. name is that
// of the connection in errors. A connection that is asked something every second is not idle to anybody, so it is there to be used afterwards.
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
			// A question that is broken off costs the connection, so it is not when do ends.
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

// createSlot creates the slot with a snapshot of the moment at which it begins. If it is there already, from a first start that died, a
// temporary one gives a later snapshot: the slot itself keeps everything since it was made. The position is that at which the slot began.
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
	// Positions count from where the slot began. Those of the later snapshot would be above what the slot brings afterwards, and whoever
	// remembers the highest position would drop that.
	if s.LSN = r.snapshot; s.LSN == 0 {
		s.LSN, err = pglogrepl.ParseLSN(r.found.Slot.Confirmed)
	}
	return s, err
}

// warnOfRepeat logs once that the backfill begins again, unless nothing can have been published by the start that did not end.
func (r *Relay) warnOfRepeat() {
	if r.repeatWarned || r.firstStartIsOurs && !r.backfillHanded {
		return
	}
	r.repeatWarned = true
	r.log.Warn("an earlier first start did not end: the backfill begins again, and what it published then will be there twice")
}
