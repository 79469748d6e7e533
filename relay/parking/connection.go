package parking

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/postgres"
)

// connection is a connection of a parker, which is opened when it is needed and closed after an error. It belongs to one goroutine.
type connection struct {
	p     *Parker
	limit time.Duration // of one use, with connecting
	db    *postgres.DB  // nil: not connected
}

func (p *Parker) connection() *connection { return &connection{p: p, limit: attemptLimit} }

// attemptLimit is how long one use of a connection may take, with connecting.
const attemptLimit = 30 * time.Second

// use calls do.
func (c *connection) use(ctx context.Context, do func(context.Context, *pgx.Conn) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	if c.db == nil {
		if c.db, err = c.p.cfg.Connect(ctx); err != nil {
			c.db = nil
			return err
		}
		// A lock that is held for long is a reason to tell. While the constraint of the states is there, Postgres need not look for others.
		if _, err = c.db.Exec(ctx, `select set_config('lock_timeout', '3s', false), set_config('constraint_exclusion', 'on', false)`); err != nil {
			c.close()
			return err
		}
	}
	if err = do(ctx, c.db.Conn); err != nil {
		c.close()
	}
	return err
}

// inTx runs do in a transaction of the session that has the slot. It fails if another session has it now.
func (c *connection) inTx(ctx context.Context, holder string, do func(context.Context, pgx.Tx) error) error {
	return c.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return inTx(ctx, conn, c.p.cfg.Slot, holder, "3s", do)
	})
}

// commit runs do as inTx does, and then committed, if the transaction is committed. No snapshot is taken between the commit and committed, which
// changes counts by what do has changed in the table.
func (c *connection) commit(ctx context.Context, holder string, do func(context.Context, pgx.Tx) error, committed func()) error {
	locked := false
	defer func() {
		if locked {
			c.p.commits.RUnlock()
		}
	}()
	err := c.inTx(ctx, holder, func(ctx context.Context, tx pgx.Tx) error {
		err := do(ctx, tx)
		if err == nil {
			c.p.commits.RLock()
			locked = true
		}
		return err
	})
	if err == nil {
		committed()
	}
	return err
}

// snapshot runs do in a transaction that sees the tables as they are at one moment. It calls now at that moment: the counts then agree with what
// do sees, but for what people have changed.
func (c *connection) snapshot(ctx context.Context, now func(), do func(context.Context, pgx.Tx) error) error {
	return c.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			c.p.commits.Lock()
			_, err := tx.Exec(ctx, `select`) // Postgres takes the snapshot with the first statement
			if err == nil {
				now()
			}
			c.p.commits.Unlock()
			if err != nil {
				return err
			}
			return do(ctx, tx)
		})
	})
}

func (c *connection) close() {
	if c.db != nil {
		c.db.Close()
		c.db = nil
	}
}

// inTx runs do in a transaction that holds the lock of the slot's state, without which nobody parks, publishes or gives back. It fails if
// another session has the slot, or if it has to wait for a lock for longer than lockTimeout.
func inTx(ctx context.Context, conn *pgx.Conn, slot, holder, lockTimeout string, do func(context.Context, pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		// A lock that is held for long is a reason to tell. A relay that is frozen in its transaction, or whose host is gone, must not keep
		// the lock from its successor.
		if _, err := tx.Exec(ctx, `select set_config('synchronous_commit', 'on', true), set_config('lock_timeout', $1, true),
			set_config('idle_in_transaction_session_timeout', '10s', true)`, lockTimeout); err != nil {
			return err
		}
		var ours bool
		err := tx.QueryRow(ctx, `select coalesce((select holder = $2 from walpost.relay_state where slot = $1 for no key update), false)`, slot, holder).Scan(&ours)
		if err != nil {
			return fmt.Errorf("check who has slot %s: %w", slot, err)
		}
		if !ours {
			return reason.With(reason.SlotHeld, fmt.Errorf("%w slot %s over", errFenced, slot))
		}
		return do(ctx, tx)
	})
}
