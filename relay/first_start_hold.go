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

// slotHold is a stream of a slot that nobody reads, while the rows from before the slot are published. Postgres 18 gives slots up that nobody
// uses for long (idle_replication_slot_timeout), and tools such as Patroni drop slots that they do not know and that are not in use. Its statuses
// keep the walsender alive and confirm nothing.
type slotHold struct {
	id        postgres.WalsenderID
	stream    *replication.Stream
	confirmer *replication.Confirmer
	running   sync.WaitGroup
}

// hold makes the walsender stream the slot, and so use it. The walsender must not be used any more.
func (r *firstStart) hold(ctx context.Context, w *replication.Walsender, srv *replication.Server) (*slotHold, error) {
	id := srv.WalsenderID(w)
	stream, err := w.Start(ctx, r.cfg.Slot, r.cfg.Publication, false)
	if err != nil {
		return nil, r.source.Classify(err, pgerror.Starting)
	}
	h := &slotHold{id: id, stream: stream}
	nothing := func() pglogrepl.LSN { return 0 }
	h.confirmer = replication.NewConfirmer(stream, nothing, nil, srv.StatusPeriod(r.cfg.SilenceLimit()), func(pglogrepl.LSN) {})
	h.confirmer.Hold(true) // what the server says is not read
	h.running.Go(h.confirmer.Run)
	r.previous = id // if this process cannot end it, the next attempt does
	return h, nil
}

// release lets the slot go, and waits for up to a second until the server has noticed.
func (h *slotHold) release(ctx context.Context, db *postgres.DB) {
	h.confirmer.End(false)
	h.running.Wait()
	h.stream.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	endWalsender(ctx, db, h.id)
}

// checkHeld looks at the slot once more, when all rows from before it are acked. What has become of it meanwhile decides whether the stream goes
// on where the rows end: began is where it stood, and nobody has confirmed anything.
func (r *firstStart) checkHeld(ctx context.Context, db *postgres.DB, began pglogrepl.LSN) error {
	slot, err := r.source.ReadSlot(ctx, db)
	if err != nil {
		return err
	}
	const again = "start walpost again, which makes a first start anew and publishes all rows that are in %s, those again that have been published; " +
		"and see to it that nothing drops slot %s: Patroni, for one, drops slots that are neither in its slots nor in its ignore_slots"
	if slot == nil {
		return pgerror.Permanent(reason.SlotMissing, fmt.Errorf("slot %s was dropped while the rows from before it were published: what was committed meanwhile is in no slot", r.cfg.Slot),
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
		return pgerror.Permanent(reason.SlotMoved, fmt.Errorf("slot %s stands at %s and stood at %s when the rows from before it were read: it was moved, or dropped and created again, and what was committed in between is not published",
			r.cfg.Slot, stands, began), "drop the slot and "+again, r.cfg.Table, r.cfg.Slot)
	}
	return nil
}

// began returns where the slot stands while nobody confirms anything: where a new one was made, or where an earlier attempt left it.
func (r *firstStart) began(snap replication.Snapshot) (pglogrepl.LSN, error) {
	if r.found.Slot == nil {
		return snap.LSN, nil
	}
	return pglogrepl.ParseLSN(r.found.Slot.Confirmed)
}
