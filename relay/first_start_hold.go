package relay

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pglogrepl"

	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
)

// slotHold is a stream that keeps the slot in use, and that nobody reads, while the backfill publishes older rows. Postgres 18 invalidates
// slots that are not used for long (idle_replication_slot_timeout). Tools such as Patroni drop unused slots that they do not know. The
// statuses of a slotHold keep the walsender alive and confirm nothing.
type slotHold struct {
	id        postgres.WalsenderID
	stream    *replication.Stream
	confirmer *replication.Confirmer
	running   sync.WaitGroup
}

// hold makes the walsender stream the slot, so that the slot is in use. The caller must not use w any more.
func (r *firstStart) hold(ctx context.Context, w *replication.Walsender, srv *replication.Server) (*slotHold, error) {
	id := srv.WalsenderID(w)
	stream, err := w.Start(ctx, r.cfg.Slot, r.cfg.Publication, false)
	if err != nil {
		return nil, r.source.Classify(err, pgerror.Starting)
	}
	h := &slotHold{id: id, stream: stream}
	nothing := func() pglogrepl.LSN { return 0 }
	h.confirmer = replication.NewConfirmer(stream, nothing, nil, srv.StatusPeriod(r.cfg.SilenceLimit()), func(pglogrepl.LSN) {})
	h.confirmer.Hold(true) // nobody reads the stream, so silence means nothing
	h.running.Go(h.confirmer.Run)
	r.previous = id // if release cannot end the walsender, the next attempt does
	return h, nil
}

// release ends the stream, and waits up to a second until the server has released the slot.
func (h *slotHold) release(ctx context.Context, db *postgres.DB) {
	h.confirmer.End(false)
	h.running.Wait()
	h.stream.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	endWalsender(ctx, db, h.id)
}

// checkHeld checks the slot again, after all rows of the backfill are acked. The stream continues where these rows end only if the slot
// still exists and was not moved meanwhile. began is where the slot stood; the relay has confirmed nothing since.
func (r *firstStart) checkHeld(ctx context.Context, db *postgres.DB, began pglogrepl.LSN) error {
	slot, err := r.source.ReadSlot(ctx, db)
	if err != nil {
		return err
	}
	const again = "start walpost again: it repeats the first start and publishes all rows that are in %s, also those that it has published already; " +
		"and make sure that nothing drops slot %s: Patroni, for example, drops slots that are neither in its slots nor in its ignore_slots"
	if slot == nil {
		return pgerror.Permanent(reason.SlotMissing, fmt.Errorf("slot %s was dropped during the backfill: events committed meanwhile are in no slot", r.cfg.Slot),
			again, r.cfg.Table, r.cfg.Slot)
	}
	if err := r.source.CheckSlot(slot, nil); err != nil {
		return err
	}
	stands, err := pglogrepl.ParseLSN(slot.Confirmed)
	if err != nil {
		return fmt.Errorf("look up slot %s: %w", r.cfg.Slot, err)
	}
	if stands > began {
		return pgerror.Permanent(reason.SlotMoved, fmt.Errorf("slot %s stands at %s, but stood at %s when the backfill began: it was moved, or dropped and re-created, and events committed in between are not published",
			r.cfg.Slot, stands, began), "drop the slot and "+again, r.cfg.Table, r.cfg.Slot)
	}
	return nil
}

// began returns where the slot stands as long as nobody confirms anything: where a new slot begins, or where an earlier attempt left the
// slot.
func (r *firstStart) began(snap replication.Snapshot) (pglogrepl.LSN, error) {
	if r.found.Slot == nil {
		return snap.LSN, nil
	}
	return pglogrepl.ParseLSN(r.found.Slot.Confirmed)
}
