package parking

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/postgres"
	"walpost/schema"
)

// errFenced is the error of a session that no longer has the slot.
var errFenced = errors.New("another relay has taken")

// inTx runs do in a transaction of the session that has the slot. It fails if another session has it now.
func inTx(ctx context.Context, db *postgres.DB, slot, holder string, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, db.Conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		// A lock that is held for long is a reason to tell.
		for _, set := range []string{`set local synchronous_commit = on`, `set local lock_timeout = '3s'`} {
			if _, err := tx.Exec(ctx, set); err != nil {
				return err
			}
		}
		var ours bool
		err := tx.QueryRow(ctx, `select coalesce((select holder = $2 from walpost.relay_state where slot = $1 for no key update), false)`, slot, holder).Scan(&ours)
		if err != nil {
			return fmt.Errorf("check who has slot %s: %w", slot, err)
		}
		if !ours {
			return reason.With(reason.SlotHeld, fmt.Errorf("%w slot %s over", errFenced, slot))
		}
		return do(tx)
	})
}

// insert parks letters. An event that has a dead letter already keeps that one. releasing reports whether a letter's key is being given
// free: then the letter is given back at once.
func insert(ctx context.Context, db *postgres.DB, slot, holder string, letters []*schema.DeadLetter, releasing func(*schema.DeadLetter) bool) error {
	return inTx(ctx, db, slot, holder, func(tx pgx.Tx) error {
		var b pgx.Batch
		for _, l := range letters {
			state := "waiting"
			switch {
			case l.Head:
				state = "head"
			case releasing(l):
				state = "retrying"
			}
			names, values := make([][]byte, len(l.Headers)), make([][]byte, len(l.Headers))
			for i, h := range l.Headers {
				names[i], values[i] = h.Name, h.Value
			}
			b.Queue(`insert into walpost.dead_letters (slot, position, event_id, topic, partition, key, type, value, header_names, header_values, record_timestamp, reason, detail, state)
				values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) on conflict (slot, position) do nothing`,
				slot, l.At.String(), text(l.EventID), orNull(l.Topic), partition(l.Partition), l.Key, text(l.Type), l.Value, names, values, timestamp(l.Timestamp),
				string(l.Code), orNull(l.Detail), state)
		}
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return fmt.Errorf("park %d events in walpost.dead_letters, the first at %s: %w", len(letters), letters[0].At, err)
		}
		return nil
	})
}

// readKeys returns the parked keys of a slot.
func readKeys(ctx context.Context, tx pgx.Tx, slot string) (map[name]found, error) {
	parked := map[name]found{}
	rows, err := tx.Query(ctx, `select coalesce(topic, ''), key, min(position), bool_or(state = 'retrying') from walpost.dead_letters
		where slot = $1 and `+schema.IsParked+` and key is not null group by 1, 2`, slot)
	if err == nil {
		var topic, at string
		var key []byte
		var f found
		_, err = pgx.ForEachRow(rows, []any{&topic, &key, &at, &f.releasing}, func() (err error) {
			f.lowest, err = schema.ParsePosition(at)
			parked[name{topic, string(key)}] = f
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the parked keys in walpost.dead_letters: %w", err)
	}
	return parked, nil
}

// readLeft returns the keys of replays, which are all of one topic, of which something is parked.
func readLeft(ctx context.Context, tx pgx.Tx, slot string, replays []*replay) (map[string]bool, error) {
	var keys [][]byte
	for _, r := range replays {
		if r.letter.Key != nil {
			keys = append(keys, r.letter.Key)
		}
	}
	rows, err := tx.Query(ctx, `select distinct key from walpost.dead_letters
		where slot = $1 and coalesce(topic, '') = $2 and `+schema.IsParked+` and key = any($3)`, slot, replays[0].name.topic, keys)
	left := map[string]bool{}
	if err == nil {
		var key []byte
		_, err = pgx.ForEachRow(rows, []any{&key}, func() error {
			left[string(key)] = true
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("look for what is left of %d keys: %w", len(keys), err)
	}
	return left, nil
}

// readSettled returns the events of a slot, from a position on, that have a dead letter.
func readSettled(ctx context.Context, tx pgx.Tx, slot string, from schema.Position) (map[schema.Position]struct{}, error) {
	settled := map[schema.Position]struct{}{}
	rows, err := tx.Query(ctx, `select position from walpost.dead_letters where slot = $1 and position >= $2`, slot, from.String())
	if err == nil {
		var at string
		_, err = pgx.ForEachRow(rows, []any{&at}, func() error {
			p, err := schema.ParsePosition(at)
			settled[p] = struct{}{}
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the events in walpost.dead_letters: %w", err)
	}
	return settled, nil
}

// text returns a value for a column of type text. What is no text is left out: it is in the record.
func text(v []byte) *string {
	return orNull(string(v))
}

// orNull makes s a text that Postgres takes; "" is NULL.
func orNull(s string) *string {
	if s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD"); s == "" {
		return nil
	}
	return &s
}

func partition(n int32) *int32 {
	if n < 0 {
		return nil
	}
	return &n
}

func timestamp(ms int64) *time.Time {
	if ms == schema.NoTime || ms > math.MaxInt32*int64(1000)*100 {
		return nil
	}
	t := time.UnixMilli(ms)
	return &t
}
