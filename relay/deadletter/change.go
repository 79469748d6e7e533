package deadletter

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"walpost/schema"
)

// Change says what a change did, or would do.
type Change struct {
	Chosen int64 // dead letters that the filter chose
	Events int64 // dead letters that changed
	Keys   int64 // their keys; an event without a key counts as one
	Busy   int64 // chosen ones that are given back already
}

// GiveBack gives the chosen dead letters back to the relay, each with everything that is parked of its topic and key. The relay publishes
// them in order. With dryRun it changes nothing.
func GiveBack(ctx context.Context, db *pgx.Conn, slot string, filter Filter, actor string, dryRun bool) (Change, error) {
	return change(ctx, db, slot, filter, dryRun, `state = 'retrying', actor = session_user || %s`, `
		from (select distinct case when key is null then id end as id, topic, key from chosen) c
		where d.slot = $1 and d.state in ('head', 'waiting') and (d.id = c.id or c.id is null and d.topic is not distinct from c.topic and d.key = c.key)`, actor)
}

// Discard gives the chosen dead letters up, and only these: what waits behind them stays. The note says why. Events that are given back
// at the moment are left alone. With dryRun it changes nothing.
func Discard(ctx context.Context, db *pgx.Conn, slot string, filter Filter, note, actor string, dryRun bool) (Change, error) {
	return change(ctx, db, slot, filter, dryRun, `state = 'discarded', note = %s, actor = session_user || %s`, `
		from chosen c where d.id = c.id and d.state in ('head', 'waiting')`, note, actor)
}

// change updates dead letters, while no relay parks or publishes some. set is the SET list, with %s for each of values. which says which rows d
// change, by the rows chosen that the filter has chosen.
func change(ctx context.Context, db *pgx.Conn, slot string, filter Filter, dryRun bool, set, which string, values ...any) (c Change, err error) {
	where, args := filter.where(slot)
	var places []any
	for _, v := range values {
		args = append(args, v)
		places = append(places, fmt.Sprintf("$%d", len(args)))
	}
	sql := `
		with chosen as (select id, topic, key, state from walpost.dead_letters where ` + where + ` and ` + schema.IsParked + `),
		changed as (
		  update walpost.dead_letters d set updated_at = clock_timestamp(), ` + fmt.Sprintf(set, places...) + which + ` returning d.id, d.topic, d.key)
		select (select count(*) from chosen), (select count(*) from changed),
		  (select count(distinct (topic, key, case when key is null then id end)) from changed),
		  (select count(*) from chosen where state = 'retrying')`
	err = pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		for _, sql := range []string{`set local lock_timeout = '10s'`, `set local synchronous_commit = on`} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `select from walpost.relay_state where slot = $1 for no key update`, slot); err != nil {
			return fmt.Errorf("lock the state of slot %s: %w", slot, err)
		}
		if err := tx.QueryRow(ctx, sql, args...).Scan(&c.Chosen, &c.Events, &c.Keys, &c.Busy); err != nil {
			return err
		}
		if dryRun {
			return tx.Rollback(ctx)
		}
		return nil
	})
	if dryRun && err == pgx.ErrTxClosed {
		err = nil
	}
	if err != nil {
		return Change{}, fmt.Errorf("change dead letters: %w", err)
	}
	return c, nil
}
