package relay

import (
	"context"
	"errors"
	"fmt"

	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
)

// errStandby means that another relay is making the first start.
var errStandby = reason.With(reason.SlotHeld, errors.New("another relay is making the first start of this slot"))

// prepare makes sure that the slot can be streamed. It checks server, tables, publication and slot. If the slot needs a first start, it
// makes that, including the backfill.
func (r *Relay) prepare(ctx context.Context, db *postgres.DB) (*postgres.Found, error) {
	p := &postgres.Found{}
	err := r.source.CheckServer(ctx, db, p)
	if r.source.Connected {
		r.watcher.allowLogin()
	}
	if err != nil {
		return nil, err
	}
	r.logServer(db)
	if err := r.warnOfRisks(ctx, db); err != nil {
		return nil, err
	}
	if err := postgres.CheckSchema(ctx, db, r.cfg.Table); err != nil {
		return nil, err
	}
	if err := r.logReadOnly(ctx, db); err != nil {
		return nil, err
	}
	state, err := postgres.ReadState(ctx, db, r.cfg.Slot)
	if err != nil {
		return nil, r.source.Classify(err, pgerror.Recording)
	}
	if err := r.source.CheckTable(ctx, db, p, state); err != nil {
		return nil, err
	}
	if err := r.checkParked(ctx, db); err != nil {
		return nil, err
	}
	if p.Slot, err = r.source.ReadSlot(ctx, db); err != nil {
		return nil, err
	}
	if p.Slot != nil && p.Slot.Foreign { // the slot belongs to another database: report that first, and not what is missing in this one
		return nil, r.source.CheckSlot(p.Slot, state)
	}
	if err := r.source.CheckPublication(ctx, db, p); err != nil {
		return nil, err
	}
	if p.Slot == nil {
		if err := r.source.CheckNoSlot(state); err != nil {
			return nil, err
		}
	}
	if p.Slot == nil || state != nil && state.Phase == postgres.PhaseBackfilling {
		if r.cfg.Backfill != "skip" { // before the slot is created
			if err := r.source.CheckReadable(ctx, db, p); err != nil {
				return nil, err
			}
		}
		first := firstStart{Relay: r, found: p}
		if err := first.run(ctx, db); err != nil {
			return nil, err
		}
		p.Slot, err = r.source.ReadSlot(ctx, db)
		if p.Slot == nil && err == nil {
			err = fmt.Errorf("slot %s was dropped during the first start", r.cfg.Slot)
		}
		return p, err
	}
	return p, r.source.CheckSlot(p.Slot, state)
}

// logReadOnly logs once that transactions are read-only by default, and once that they no longer are. The relay goes on, because it writes
// only its own state.
func (r *Relay) logReadOnly(ctx context.Context, db *postgres.DB) error {
	closed, err := postgres.ReadReadOnly(ctx, db)
	switch {
	case err != nil:
		return err
	case closed != nil && !r.readOnly.Swap(true):
		r.log.Warn("the database accepts no writes by default; walpost goes on, and writes only its own state, in READ WRITE transactions",
			"reason", reason.PostgresReadOnly, "err", closed.Err, "cure", closed.Cure)
	case closed == nil && r.readOnly.Swap(false):
		r.log.Info("transactions are no longer read-only by default")
	}
	return nil
}
