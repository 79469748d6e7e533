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

// lock takes the lock of the slot's first start. close releases it.
func (c *command) lock(ctx context.Context) (err error) {
	c.locked, err = c.db.LockSlot(ctx, c.Slot)
	if err == nil && !c.locked {
		err = fmt.Errorf("a relay is making the first start of slot %s: stop it, or wait until it streams", c.Slot)
	}
	return err
}

// Create creates the configured slot and returns it. A relay then streams from now on, without a backfill. Create creates nothing else. It
// waits for the end of all transactions that are writing. Of cfg it needs ConnString, Slot, Publication, Table, Mapping and Logger.
//
// Create refuses to re-create a slot that walpost has streamed from: the events since then would be lost silently.
func Create(ctx context.Context, cfg postgres.Config) (*Slot, error) {
	c := newCommand(cfg)
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	defer c.close()
	if err := c.do(ctx, c.mayCreate); err != nil {
		return nil, err
	}
	if err := c.create(ctx); err != nil {
		return nil, err
	}
	return c.readNow(ctx)
}

// mayCreate checks what a relay checks at its start.
func (c *command) mayCreate(ctx context.Context) error {
	found := &postgres.Found{}
	if err := c.CheckPrimary(ctx, c.db, found); err != nil {
		return err
	}
	if err := postgres.CheckSchema(ctx, c.db, c.Table); err != nil {
		return err
	}
	if err := c.lock(ctx); err != nil {
		return err
	}
	state, err := postgres.ReadState(ctx, c.db, c.Slot)
	if err != nil {
		return err
	}
	s, err := c.read(ctx)
	if err != nil {
		return err
	}
	if s.Type != "" {
		return fmt.Errorf("slot %s exists already (walpost slot show)", c.Slot)
	}
	if err := c.CheckNoSlot(state); err != nil {
		return err
	}
	if state != nil {
		return pgerror.Permanent(reason.FirstStartUnfinished, fmt.Errorf("an earlier first start of slot %s did not finish", c.Slot),
			"walpost run creates the slot and begins the backfill again; to do without a backfill, run: DELETE FROM walpost.relay_state WHERE slot = %s", schema.QuoteLiteral(c.Slot))
	}
	if err := c.CheckTable(ctx, c.db, found, nil); err != nil {
		return err
	}
	return c.CheckVisible(ctx, c.db, found)
}

func (c *command) create(ctx context.Context) error {
	w, err := replication.Connect(ctx, c.CurrentConnString(), c.Names, c.Logger)
	if err != nil {
		return c.Classify(err, pgerror.Connecting)
	}
	defer w.Close()
	var srv replication.Server
	err = c.do(ctx, func(ctx context.Context) (err error) {
		srv, err = w.Identify(ctx)
		return c.Classify(err, pgerror.Identifying)
	})
	if err != nil {
		return err
	}
	_, err = w.CreateSlot(ctx, c.Slot, false, srv.Version, nil)
	return c.Classify(err, pgerror.Creating)
}

// Drop drops the configured slot and returns its last state. It refuses if somebody streams from the slot, if the slot is not one of
// pgoutput or belongs to another database, or if a relay is making its first start. The slot's row in walpost.relay_state stays, so that a
// relay re-creates the slot only if a person says so: see [Slot]. Of cfg it needs ConnString and Slot.
func Drop(ctx context.Context, cfg postgres.Config) (*Slot, error) {
	c := newCommand(cfg)
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	defer c.close()
	var s *Slot
	err := c.do(ctx, func(ctx context.Context) (err error) {
		if err := c.lock(ctx); err != nil {
			return err
		}
		if s, err = c.read(ctx); err != nil {
			return err
		}
		if err := c.mayDrop(s); err != nil {
			return err
		}
		return c.drop(ctx)
	})
	return s, err
}

func (c *command) drop(ctx context.Context) error {
	_, err := c.db.Exec(ctx, "select pg_catalog.pg_drop_replication_slot($1)", c.Slot)
	if err != nil {
		err = c.Classify(fmt.Errorf("drop slot %s: %w", c.Slot, err), pgerror.Creating) // dropping needs the same right as creating
	}
	return err
}

func (c *command) mayDrop(s *Slot) error {
	foreign := func(what string) error {
		return fmt.Errorf("slot %s is %s, so it does not belong to walpost; if you know that nobody needs it, run: SELECT pg_drop_replication_slot(%s)",
			s.Name, what, schema.QuoteLiteral(s.Name))
	}
	switch {
	case s.Type == "":
		return c.none(s)
	case s.Type != "logical":
		return foreign("a " + s.Type + " slot")
	case s.Plugin != "pgoutput":
		return foreign("a slot of " + s.Plugin)
	case s.foreign:
		return fmt.Errorf("slot %s belongs to database %s, but postgres.url names another one", s.Name, s.Database)
	case s.Active:
		return fmt.Errorf("slot %s is in use: %s; stop that first", s.Name, s.Holder())
	}
	return nil
}
