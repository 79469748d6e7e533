package relay

import (
	"context"
	"errors"
	"fmt"
)

// errStandby says that another relay is at it.
var errStandby = errors.New("another relay is making the first start of this slot")

// prepare makes sure that the slot can be streamed: it checks what is there, makes what a first start makes, backfill included, and says
// what only a person can cure.
func (r *Relay) prepare(ctx context.Context, db *database) (*ready, error) {
	p := &ready{}
	err := r.source.checkServer(ctx, db, p)
	if p.version != 0 {
		r.watcher.meet()
	}
	if err != nil {
		return nil, err
	}
	if err := checkSchema(ctx, db, r.cfg.Table); err != nil {
		return nil, err
	}
	if err := r.source.checkWritable(ctx, db, r.streamed); err != nil {
		return nil, err
	}
	state, err := readState(ctx, db, r.cfg.Slot)
	if err != nil {
		return nil, err
	}
	if err := r.source.checkTable(ctx, db, p, state); err != nil {
		return nil, err
	}
	if p.slot, err = r.source.readSlot(ctx, db); err != nil {
		return nil, err
	}
	if p.slot != nil && p.slot.foreign { // nothing that is missing here is this slot's concern
		return nil, r.source.checkSlot(p.slot, state)
	}
	if err := r.source.checkPublication(ctx, db, p); err != nil {
		return nil, err
	}
	if p.slot == nil {
		if err := r.source.checkNoSlot(state); err != nil {
			return nil, err
		}
	}
	if p.slot == nil || state != nil && state.phase == phaseBackfilling {
		if r.cfg.Backfill != "skip" { // before a slot is made for the rows
			if err := r.source.checkReadable(ctx, db, p); err != nil {
				return nil, err
			}
		}
		if err := r.firstStart(ctx, db, p); err != nil {
			return nil, err
		}
		p.slot, err = r.source.readSlot(ctx, db)
		if p.slot == nil && err == nil {
			err = fmt.Errorf("slot %s was dropped during the first start", r.cfg.Slot)
		}
		return p, err
	}
	return p, r.source.checkSlot(p.slot, state)
}
