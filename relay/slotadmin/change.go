package slotadmin

import (
	"context"
	"fmt"

	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// lock keeps first starts away until close.
func (v *verb) lock(ctx context.Context) (err error) {
	v.locked, err = v.db.LockSlot(ctx, v.Slot)
	if err == nil && !v.locked {
		err = fmt.Errorf("a relay is making the first start of slot %s: stop it, or wait until it streams", v.Slot)
	}
	return err
}

// Create makes the configured slot, for a relay that is to stream from now on without a backfill, and returns what was made. It makes
// nothing else, and waits for the end of all transactions that are writing. Of cfg it needs ConnString, Slot, Publication, Table, Mapping
// and Logger.
//
// A slot that walpost has streamed from and that is gone is not made again: its events would be lost without a word.
func Create(ctx context.Context, cfg postgres.Config) (*Slot, error) {
	v := newVerb(cfg)
	if err := v.open(ctx); err != nil {
		return nil, err
	}
	defer v.close()
	if err := v.do(ctx, v.mayCreate); err != nil {
		return nil, err
	}
	if err := v.create(ctx); err != nil {
		return nil, err
	}
	return v.lookNow(ctx)
}

// mayCreate makes the checks of a relay's start.
func (v *verb) mayCreate(ctx context.Context) error {
	found := &postgres.Found{}
	if err := v.CheckPrimary(ctx, v.db, found); err != nil {
		return err
	}
	if err := postgres.CheckSchema(ctx, v.db, v.Table); err != nil {
		return err
	}
	if err := v.lock(ctx); err != nil {
		return err
	}
	state, err := postgres.ReadState(ctx, v.db, v.Slot)
	if err != nil {
		return err
	}
	s, err := v.look(ctx)
	if err != nil {
		return err
	}
	if s.Type != "" {
		return fmt.Errorf("slot %s is there already (walpost slot show)", v.Slot)
	}
	if err := v.CheckNoSlot(state); err != nil {
		return err
	}
	if state != nil {
		return pgerror.Permanent(reason.FirstStartUnfinished, fmt.Errorf("a first start of slot %s did not end", v.Slot),
			"walpost run makes the slot and begins the backfill again; to do without a backfill, run: DELETE FROM walpost.relay_state WHERE slot = %s", schema.QuoteLiteral(v.Slot))
	}
	if err := v.CheckTable(ctx, v.db, found, nil); err != nil {
		return err
	}
	return v.CheckVisible(ctx, v.db, found)
}

func (v *verb) create(ctx context.Context) error {
	w, err := replication.Connect(ctx, v.CurrentConnString(), v.Names, v.Logger)
	if err != nil {
		return v.Classify(err, pgerror.Connecting)
	}
	defer w.Close()
	var srv replication.Server
	err = v.do(ctx, func(ctx context.Context) (err error) {
		srv, err = w.Identify(ctx)
		return v.Classify(err, pgerror.Identifying)
	})
	if err != nil {
		return err
	}
	_, err = w.CreateSlot(ctx, v.Slot, false, srv.Version, nil)
	return v.Classify(err, pgerror.Creating)
}

// Drop drops the configured slot and returns what it was. A slot that somebody streams from, that is not of pgoutput or of another
// database, and that a first start is at work with is not dropped. What is recorded of it stays, so that no relay begins anew without
// being told to: see [Slot]. Of cfg it needs ConnString and Slot.
func Drop(ctx context.Context, cfg postgres.Config) (*Slot, error) {
	v := newVerb(cfg)
	if err := v.open(ctx); err != nil {
		return nil, err
	}
	defer v.close()
	var s *Slot
	err := v.do(ctx, func(ctx context.Context) (err error) {
		if err := v.lock(ctx); err != nil {
			return err
		}
		if s, err = v.look(ctx); err != nil {
			return err
		}
		if err := v.mayDrop(s); err != nil {
			return err
		}
		return v.drop(ctx)
	})
	return s, err
}

func (v *verb) drop(ctx context.Context) error {
	_, err := v.db.Exec(ctx, "select pg_catalog.pg_drop_replication_slot($1)", v.Slot)
	if err != nil {
		err = v.Classify(fmt.Errorf("drop slot %s: %w", v.Slot, err), pgerror.Creating) // it takes the same right
	}
	return err
}

func (v *verb) mayDrop(s *Slot) error {
	foreign := func(what string) error {
		return fmt.Errorf("slot %s is %s: it is not walpost's; whoever knows that nobody needs it may run: SELECT pg_drop_replication_slot(%s)",
			s.Name, what, schema.QuoteLiteral(s.Name))
	}
	switch {
	case s.Type == "":
		return v.none(s)
	case s.Type != "logical":
		return foreign(s.Type)
	case s.Plugin != "pgoutput":
		return foreign("of " + s.Plugin)
	case s.foreign:
		return fmt.Errorf("slot %s is of database %s, and postgres.url names another one", s.Name, s.Database)
	case s.Active:
		return fmt.Errorf("slot %s is in use: %s; stop that first", s.Name, s.Holder())
	}
	return nil
}
