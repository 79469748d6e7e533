package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"walpost/schema"
)

// mostInChunk is how many dead letters one transaction of Discard changes. While it runs, the relay can park nothing.
const mostInChunk = 10_000

// Discard gives the chosen dead letters up, and only these: what waits behind them stays. The note says why. Events that are given back
// at the moment are left alone.
//
// It changes only rows that are there when it begins. So it ends, although the relay parks new events all the time. If an id is missing, nothing
// changes. Each transaction changes a limited number of rows, and the relay parks in between. If one fails, what was discarded before stays so: the
// Change counts it, and the error says so.
//
// With dryRun it changes nothing, and does not keep the relay from parking.
func Discard(ctx context.Context, db *pgx.Conn, slot string, filter Filter, note, actor string, dryRun bool) (Change, error) {
	d := discard{db: db, slot: slot, filter: filter, note: note, actor: actor, most: mostInChunk}
	if dryRun {
		return d.count(ctx)
	}
	err := d.run(ctx)
	return d.Change, err
}

// discard is a Discard under way.
type discard struct {
	Change
	db     *pgx.Conn
	slot   string
	filter Filter
	note   string
	actor  string
	most   int // rows of a transaction

	last  int64             // the highest id when it began
	after int64             // the highest id that it has looked at
	keys  map[[16]byte]bool // hashes of the keys that it has discarded events of: a key may be in several chunks
}

// run discards chunk by chunk, in the order of the ids.
func (d *discard) run(ctx context.Context) (err error) {
	if err := d.begin(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil && d.Events > 0 {
			err = fmt.Errorf("discard dead letters of slot %s: %w; %d events were discarded before that and stay so: run the command again for the rest", d.slot, err, d.Events)
		}
	}()
	d.keys = map[[16]byte]bool{}
	for {
		ids, err := d.next(ctx)
		if err == nil && len(ids) > 0 {
			err = d.chunk(ctx, ids)
		}
		if err != nil || len(ids) == 0 {
			return err
		}
		d.after = ids[len(ids)-1]
	}
}

// begin checks the ids that the filter names, and notes the highest id. No relay parks meanwhile, so no lower id comes later.
func (d *discard) begin(ctx context.Context) error {
	return inTx(ctx, d.db, func(tx pgx.Tx) error {
		if err := lock(ctx, tx, d.slot); err != nil {
			return err
		}
		if err := RepairStates(ctx, tx, d.slot); err != nil {
			return err
		}
		if err := named(ctx, tx, d.slot, d.filter.IDs); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `select coalesce(max(id), 0) from walpost.dead_letters`).Scan(&d.last); err != nil {
			return fmt.Errorf("look for the newest dead letter: %w", err)
		}
		return nil
	})
}

// next returns the ids of the next chunk, in order. It does not lock anything: the relay goes on while Postgres looks for them.
func (d *discard) next(ctx context.Context) (ids []int64, err error) {
	if d.filter.IDs != nil { // also those that are over: they are counted
		ids = slices.DeleteFunc(slices.Clone(d.filter.IDs), func(id int64) bool { return id <= d.after })
		slices.Sort(ids)
		ids = slices.Compact(ids)
		return ids[:min(len(ids), d.most)], nil
	}
	err = inTx(ctx, d.db, func(tx pgx.Tx) error {
		// The ids come from their index, in order. Another plan would read all chosen rows for each chunk.
		if _, err := tx.Exec(ctx, `select set_config(name, 'off', true) from unnest('{enable_seqscan,enable_bitmapscan,enable_sort}'::text[]) name`); err != nil {
			return err
		}
		where, args := d.filter.where(d.slot)
		n := len(args)
		rows, err := tx.Query(ctx, fmt.Sprintf(`select id from walpost.dead_letters where %s and %s and id > $%d and id <= $%d order by id limit $%d`, where, schema.IsParked, n+1, n+2, n+3),
			append(args, d.after, d.last, d.most)...)
		if err == nil {
			ids, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		}
		if err != nil {
			return fmt.Errorf("look for dead letters to discard: %w", err)
		}
		return nil
	})
	return ids, err
}

// chunk discards those of the rows with these ids that the filter still chooses.
func (d *discard) chunk(ctx context.Context, ids []int64) error {
	where, args := d.filter.where(d.slot)
	n := len(args)
	sql := fmt.Sprintf(`
		with chosen as (select id, state from walpost.dead_letters where id = any($%[1]d) and %[2]s and %[3]s),
		changed as (
		  update walpost.dead_letters set state = 'discarded', note = $%[4]d, actor = session_user || $%[5]d, updated_at = clock_timestamp()
		  where id = any(array(select id from chosen)) and state in ('head', 'waiting') returning topic, key)
		select (select count(*) from changed), (select count(*) from chosen where state = 'retrying'),
		  (select coalesce(array_agg(distinct `+keyHash+`), '{}') from changed where key is not null)`, n+1, where, schema.IsParked, n+2, n+3)
	var events, busy, over int64
	var keys [][]byte
	err := inTx(ctx, d.db, func(tx pgx.Tx) (err error) {
		if err = lock(ctx, tx, d.slot); err != nil {
			return err
		}
		if d.filter.IDs != nil {
			if over, err = countOver(ctx, tx, d.slot, ids); err != nil {
				return err
			}
		}
		if err = tx.QueryRow(ctx, sql, append(args, ids, d.note, d.actor)...).Scan(&events, &busy, &keys); err != nil {
			return fmt.Errorf("change dead letters: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.Events, d.Busy, d.Over = d.Events+events, d.Busy+busy, d.Over+over
	for _, k := range keys {
		d.keys[[16]byte(k)] = true
	}
	d.Keys = int64(len(d.keys))
	return nil
}

// keyHash is the SQL of 16 bytes that stand for the topic and the key of a row. A topic has no zero byte.
const keyHash = `substr(sha256(convert_to(coalesce(topic, ''), 'UTF8') || '\x00'::bytea || key), 1, 16)`

// count counts what a discard would change.
func (d *discard) count(ctx context.Context) (c Change, err error) {
	where, args := d.filter.where(d.slot)
	err = inTx(ctx, d.db, func(tx pgx.Tx) (err error) {
		if err = RepairStates(ctx, tx, d.slot); err != nil { // as a rule there is nothing to repair, and no row is locked
			return err
		}
		if err = named(ctx, tx, d.slot, d.filter.IDs); err != nil {
			return err
		}
		if c.Over, err = countOver(ctx, tx, d.slot, d.filter.IDs); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `select count(*) filter (where state <> 'retrying'), count(distinct (coalesce(topic, ''), key)) filter (where state <> 'retrying' and key is not null),
			count(*) filter (where state = 'retrying') from walpost.dead_letters where `+where+` and `+schema.IsParked, args...).Scan(&c.Events, &c.Keys, &c.Busy)
		if err != nil {
			return fmt.Errorf("count dead letters: %w", err)
		}
		return errDryRun
	})
	if !errors.Is(err, errDryRun) {
		return Change{}, err
	}
	return c, nil
}
