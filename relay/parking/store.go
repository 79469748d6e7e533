package parking

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/schema"
)

// errFenced is the error of a session that no longer has the slot.
var errFenced = errors.New("another relay has taken")

// insert parks letters. An event that has a dead letter already keeps that one. releasing reports whether a letter's key is given back: then
// a letter that only waits is given back at once.
func insert(ctx context.Context, tx pgx.Tx, slot string, letters []*schema.DeadLetter, releasing func(*schema.DeadLetter) bool) error {
	var b pgx.Batch
	for _, l := range letters {
		state := "waiting"
		if given := releasing(l); l.Head {
			state = "head"
		} else if given {
			state = "retrying"
		}
		names, values := [][]byte{}, [][]byte{}
		for h := range l.EachHeader() {
			names, values = append(names, h.Name), append(values, h.Value)
		}
		b.Queue(`insert into walpost.dead_letters (slot, position, event_id, topic, partition, key, type, value, header_names, header_values, record_timestamp, reason, detail, state)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) on conflict (slot, position) do nothing`,
			slot, l.At.String(), text(l.EventID), orNull(l.Topic), partition(l.Partition), l.Key, text(l.Type), l.Value, names, values, timestamp(l.Timestamp),
			string(l.Code), orNull(l.Detail), state)
	}
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("park events in walpost.dead_letters: %w", err) // without numbers: the log tells each error once
	}
	return nil
}

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// readKeys returns the parked keys of a slot, each with its lowest position, and how many events are parked.
func readKeys(ctx context.Context, q querier, slot string) (parked map[name]schema.Position, events int64, err error) {
	parked = map[name]schema.Position{}
	rows, err := q.Query(ctx, `select coalesce(topic, ''), key, min(position), count(*) from walpost.dead_letters where slot = $1 and `+schema.IsParked+` group by 1, 2`, slot)
	if err == nil {
		var topic, at string
		var key []byte
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&topic, &key, &at, &n}, func() error {
			if events += n; key != nil {
				// If somebody has edited the position, nobody knows which events of the key were sent before this one. All of them are parked
				// then: the error leaves the lowest position there is.
				parked[name{topic, string(key)}], _ = schema.ParsePosition(at)
			}
			return nil
		})
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the parked keys in walpost.dead_letters: %w", err)
	}
	return parked, events, nil
}

// readLeft returns those of the keys of which something is parked behind a position; "": anywhere. The condition for the slot is such that only
// the index of the keys fits.
func readLeft(ctx context.Context, tx pgx.Tx, slot string, keys []name, behind string) (map[name]bool, error) {
	left := map[name]bool{}
	topics, values := apart(keys)
	rows, err := tx.Query(ctx, `select k.topic, k.key from unnest($2::text[], $3::bytea[]) k (topic, key)
		where exists (select from walpost.dead_letters d where sha256(d.key) = sha256(k.key) and d.key = k.key and d.slot || '' = $1 and coalesce(d.topic, '') = k.topic
		and d.position > $4 and d.`+schema.IsParked+`)`, slot, topics, values, behind)
	if err == nil {
		var topic string
		var key []byte
		_, err = pgx.ForEachRow(rows, []any{&topic, &key}, func() error {
			left[name{topic, string(key)}] = true
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("look for what is left of %d keys: %w", len(keys), err)
	}
	return left, nil
}

// apart returns the topics and the keys of names.
func apart(names []name) (topics []string, keys [][]byte) {
	for _, n := range names {
		topics, keys = append(topics, n.topic), append(keys, []byte(n.key))
	}
	return topics, keys
}

// readSettled returns the events of a slot, from a position on, that have a dead letter.
func readSettled(ctx context.Context, tx pgx.Tx, slot string, from schema.Position) (settled map[schema.Position]*repeat, repeats map[name]*repeat, err error) {
	settled, repeats = map[schema.Position]*repeat{}, map[name]*repeat{}
	rows, err := tx.Query(ctx, `select position, coalesce(topic, ''), case when state = 'released' then key end from walpost.dead_letters
		where slot = $1 and position >= $2`, slot, from.String())
	if err == nil {
		var at, topic string
		var released []byte
		_, err = pgx.ForEachRow(rows, []any{&at, &topic, &released}, func() error {
			p, err := schema.ParsePosition(at)
			if err != nil { // somebody has spoilt it
				return nil
			}
			settled[p] = nil
			if released != nil {
				n := name{topic, string(released)}
				if repeats[n] == nil {
					repeats[n] = &repeat{}
				}
				settled[p] = repeats[n]
				if p.Compare(repeats[n].highest) > 0 {
					repeats[n].highest = p
				}
			}
			return nil
		})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the events in walpost.dead_letters: %w", err)
	}
	return settled, repeats, nil
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
