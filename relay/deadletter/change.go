package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"walpost/schema"
)

// Change says what a change did, or would do.
type Change struct {
	Events   int64   // dead letters that changed
	Keys     int64   // their keys; an event without a key has none
	Busy     int64   // chosen ones that are given back already: they did not change
	Blocked  int64   // chosen ones that wait for their topic: GiveBack did not change them
	Over     int64   // ones that are named by id, and released or discarded: they did not change
	Unplaced []int64 // ids of rows whose position cannot be read, or lies beyond the server's WAL: GiveBack left their keys parked
}

// MissingError says that the slot has no dead letters with these ids. Nothing was changed then.
type MissingError struct {
	Slot string
	IDs  []int64
}

func (e *MissingError) Error() string {
	word := "id"
	if len(e.IDs) > 1 {
		word = "ids"
	}
	return fmt.Sprintf("slot %s has no dead letter with %s %s", e.Slot, word, ListIDs(e.IDs))
}

// mostListed is how many ids a message names.
const mostListed = 20

// ListIDs returns ids for a message: the first ones, and how many others there are.
func ListIDs(ids []int64) string {
	if len(ids) <= mostListed {
		return strings.Trim(fmt.Sprint(ids), "[]")
	}
	others := len(ids) - mostListed
	word := "others"
	if others == 1 {
		word = "other"
	}
	return fmt.Sprintf("%s and %d %s", strings.Trim(fmt.Sprint(ids[:mostListed]), "[]"), others, word)
}

// Beyond is the SQL condition of a row whose position lies beyond the server's WAL: somebody has edited it, or the table comes from another
// server. The stream may never reach such a position. A row that walpost has written is in the WAL behind its event.
const Beyond = `substr(position, 10, 16) >= (select upper(lpad(to_hex((pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_catalog.pg_lsn)::bigint), 16, '0')))`

// placed is the SQL condition of a row whose position can be read, and can be one of this server.
const placed = `(position ~ '^[0-9A-F]{8}-[0-9A-F]{16}-[0-9A-F]{8}$' and not ` + Beyond + `)`

// GiveBack gives the chosen dead letters back to the relay, each with everything that is parked of its topic and key. The relay publishes
// them in order. What waits for its topic is left out: the relay publishes it by itself. A key stays parked if one of its rows has a position
// that cannot be read, or that lies beyond the server's WAL, because its order is not known. With dryRun GiveBack changes nothing.
func GiveBack(ctx context.Context, db *pgx.Conn, slot string, filter Filter, actor string, dryRun bool) (c Change, err error) {
	where, args := filter.where(slot)
	// A join for the events with a key and one for those without: a single one with OR could only be a nested loop. Each part reads what waits for a
	// person only: millions of rows may wait for a topic.
	const parked = `(select * from walpost.dead_letters where slot = $1 and state in ('head', 'waiting') and ` + schema.WaitsForPerson + `)`
	change := fmt.Sprintf(`
		with chosen as (select id, coalesce(topic, '') as topic, key, state from walpost.dead_letters where %[1]s and %[2]s),
		members as (
		  select d.id, k.topic, k.key, %[3]s as placed
		  from %[4]s d join (select distinct topic, key from chosen where key is not null) k on coalesce(d.topic, '') = k.topic and d.key = k.key
		  union all
		  select d.id, c.topic, c.key, %[3]s from %[4]s d join chosen c using (id) where c.key is null),
		unplaced as (select * from members where not placed),
		ready as (select id from members m where placed and not exists (select from unplaced u where u.topic = m.topic and u.key = m.key)),
		changed as (
		  update walpost.dead_letters d set updated_at = clock_timestamp(), state = 'retrying', actor = session_user || $%[5]d
		  from ready where d.id = ready.id and d.state in ('head', 'waiting') and %[2]s returning d.id, d.topic, d.key)
		select (select count(*) from changed),
		  (select count(distinct (topic, key)) filter (where key is not null) from changed),
		  (select count(*) from chosen where state = 'retrying'),
		  (select coalesce(array_agg(id order by id), '{}') from unplaced)`, where, schema.WaitsForPerson, placed, parked, len(args)+1)
	err = inTx(ctx, db, func(tx pgx.Tx) error {
		// Counting what waits for its topic may take long, so it comes before the lock.
		if err := tx.QueryRow(ctx, `select count(*) from walpost.dead_letters where `+where+` and `+schema.IsBlocked, args...).Scan(&c.Blocked); err != nil {
			return fmt.Errorf("count what waits for its topic: %w", err)
		}
		if err := lock(ctx, tx, slot); err != nil {
			return err
		}
		if err := RepairStates(ctx, tx, slot); err != nil {
			return err
		}
		if err := named(ctx, tx, slot, filter.IDs); err != nil {
			return err
		}
		var err error
		if c.Over, err = countOver(ctx, tx, slot, filter.IDs); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, change, append(args, actor)...).Scan(&c.Events, &c.Keys, &c.Busy, &c.Unplaced); err != nil {
			return fmt.Errorf("change dead letters: %w", err)
		}
		if dryRun {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return Change{}, err
	}
	return c, nil
}

// errDryRun rolls a transaction back.
var errDryRun = errors.New("nothing is changed")

// inTx runs do in a transaction. It does not wait long for locks, and does not keep them if this process is frozen.
func inTx(ctx context.Context, db *pgx.Conn, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		// A relay that is frozen in its transaction has its lock for up to 10 s.
		// Postgres cannot tell how many rows are chosen. A nested loop would compare each of them with each row that is parked.
		for _, sql := range []string{`set local lock_timeout = '10s'`, `set local idle_in_transaction_session_timeout = '10s'`, `set local synchronous_commit = on`, `set local enable_nestloop = off`} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return do(tx)
	})
}

// lock keeps relays and other people from changing the dead letters of a slot until tx ends.
func lock(ctx context.Context, tx pgx.Tx, slot string) error {
	// The slot has no row if its state was deleted. Then two people still must not work at the same time.
	if _, err := tx.Exec(ctx, `select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('walpost dead letters of slot ' || $1, 0))`, slot); err != nil {
		return fmt.Errorf("wait for another change of the dead letters of slot %s: %w", slot, err)
	}
	if _, err := tx.Exec(ctx, `select from walpost.relay_state where slot = $1 for no key update`, slot); err != nil {
		return fmt.Errorf("lock the state of slot %s: %w", slot, err)
	}
	return nil
}

// named checks that the slot has each of these dead letters.
func named(ctx context.Context, tx pgx.Tx, slot string, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	missing := &MissingError{Slot: slot}
	err := tx.QueryRow(ctx, `
		select coalesce(array_agg(distinct n.id order by n.id), '{}') from unnest($2::bigint[]) n(id)
		where n.id not in (select id from walpost.dead_letters where slot = $1 and id = any($2))`, slot, ids).Scan(&missing.IDs)
	if err != nil {
		return fmt.Errorf("look for dead letters by id: %w", err)
	}
	if len(missing.IDs) > 0 {
		return missing
	}
	return nil
}

// countOver counts those of the dead letters with these ids that are released or discarded.
func countOver(ctx context.Context, tx pgx.Tx, slot string, ids []int64) (over int64, err error) {
	if len(ids) == 0 {
		return 0, nil
	}
	err = tx.QueryRow(ctx, `select count(*) from walpost.dead_letters where slot = $1 and id = any($2) and state in ('released', 'discarded')`, slot, ids).Scan(&over)
	if err != nil {
		return 0, fmt.Errorf("look for dead letters by id: %w", err)
	}
	return over, nil
}

// RepairStates makes a head of each dead letter of the slot whose state is none, and says so in its detail. The table's constraint allows no
// such state, but somebody may have dropped that. An event with such a state would be neither parked nor published. While the constraint is
// there, Postgres knows that no row can match and does not read the table.
func RepairStates(ctx context.Context, tx pgx.Tx, slot string) error {
	if _, err := tx.Exec(ctx, `set local constraint_exclusion = on`); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `update walpost.dead_letters set state = 'head', reason = 'unexpected', updated_at = clock_timestamp(),
		detail = 'somebody set the state to ' || quote_literal(state) || ', which does not exist' where slot = $1 and `+strange, slot)
	if err != nil {
		return fmt.Errorf("look for dead letters with an unknown state: %w", err)
	}
	return nil
}

// strange is the SQL condition of a row whose state is none.
const strange = `state not in ('head', 'waiting', 'retrying', 'released', 'discarded')`
