package parking

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/relay/deadletter"
	"walpost/schema"
)

// errFenced is the error of a session that no longer has the slot.
var errFenced = errors.New("another relay has taken")

// letterColumns are the columns that a letter fills, in the order of [values].
var letterColumns = []string{"slot", "position", "event_id", "topic", "partition", "key", "type", "value", "header_names", "header_values", "record_timestamp", "reason", "detail", "state"}

// values returns the values of a letter.
func values(slot string, l *schema.DeadLetter, state string) []any {
	names, contents := [][]byte{}, [][]byte{}
	for h := range l.EachHeader() {
		names, contents = append(names, h.Name), append(contents, h.Value)
	}
	return []any{slot, l.At.String(), text(l.EventID), orNull(l.Topic), partition(l.Partition), l.Key, text(l.Type), l.Value, names, contents, timestamp(l.Timestamp),
		string(l.Code), orNull(l.Detail), state}
}

// insert parks letters. An event that has a dead letter already keeps that one. If that one was released, and the event is to be sent again
// when its topic takes records again, it waits once more. releasing reports whether a letter's key is given back: then a letter that only
// waits is given back at once.
func insert(ctx context.Context, tx pgx.Tx, slot string, letters []*schema.DeadLetter, releasing func(*schema.DeadLetter) bool) error {
	var b pgx.Batch
	for _, l := range letters {
		state := "waiting"
		switch {
		case l.Blocked:
		case l.Head:
			releasing(l)
			state = "head"
		case releasing(l):
			state = "retrying"
		}
		b.Queue(`insert into walpost.dead_letters (`+strings.Join(letterColumns, ", ")+`) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
			on conflict (slot, position) do update set state = 'waiting', reason = excluded.reason, detail = excluded.detail, updated_at = clock_timestamp(),
			value = excluded.value, header_names = excluded.header_names, header_values = excluded.header_values
			where dead_letters.state = 'released' and excluded.reason = 'topic_blocked'`, values(slot, l, state)...)
	}
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("park events in walpost.dead_letters: %w", err) // without numbers: the log tells each error once
	}
	return nil
}

// copyIn parks letters that wait for their topics, none of which is in the table.
func copyIn(ctx context.Context, tx pgx.Tx, slot string, letters []*schema.DeadLetter) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"walpost", "dead_letters"}, letterColumns, pgx.CopyFromSlice(len(letters), func(i int) ([]any, error) {
		return values(slot, letters[i], "waiting"), nil
	}))
	if err != nil {
		return fmt.Errorf("park events in walpost.dead_letters: %w", err)
	}
	return nil
}

// table is what walpost.dead_letters has of a slot.
type table struct {
	parked  map[name]schema.Position // keys, each with its lowest position
	events  int64                    // that wait for a person
	bytes   int64                    // of their contents
	topics  []Waiting                // for which events wait, without how many
	settled settled                  // events from the confirmed position on
	repeats map[name]*repeat
}

// readTable reads what the table has of a slot. Postgres delivers again from a position on.
func readTable(ctx context.Context, tx pgx.Tx, slot string, from schema.Position) (t *table, err error) {
	t = &table{}
	if t.parked, t.events, t.bytes, err = readKeys(ctx, tx, slot); err == nil {
		t.topics, err = findTopics(ctx, tx, slot)
	}
	if err == nil {
		t.settled, t.repeats, err = readSettled(ctx, tx, slot, from)
	}
	return t, err
}

// findTopics returns the topics for which events of a slot wait, without how many: there may be millions.
func findTopics(ctx context.Context, tx pgx.Tx, slot string) (topics []Waiting, err error) {
	rows, err := tx.Query(ctx, `
		with recursive t as (
		  (select topic from walpost.dead_letters where slot = $1 and `+schema.IsBlocked+` order by topic limit 1)
		  union all
		  select (select topic from walpost.dead_letters where slot = $1 and `+schema.IsBlocked+` and topic > t.topic order by topic limit 1) from t where t.topic is not null)
		select t.topic, coalesce(detail, ''), greatest(parked_at, '0001-01-02Z') from t,
		  lateral (select detail, parked_at from walpost.dead_letters where slot = $1 and topic = t.topic and `+schema.IsBlocked+` order by position limit 1) first
		where t.topic is not null`, slot)
	if err == nil {
		var w Waiting
		var detail string
		_, err = pgx.ForEachRow(rows, []any{&w.Topic, &detail, &w.Since}, func() error {
			w.Code, w.Detail = Cause(detail)
			topics = append(topics, w)
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("look for topics in walpost.dead_letters that take no records: %w", err)
	}
	return topics, nil
}

// readKeys returns the parked keys of a slot, each with its lowest position, how many events are parked, and the bytes of their contents. It
// leaves out what waits for its topic.
func readKeys(ctx context.Context, q deadletter.Querier, slot string) (parked map[name]schema.Position, events, bytes int64, err error) {
	parked = map[name]schema.Position{}
	rows, err := q.Query(ctx, `select coalesce(topic, ''), key, min(position), count(*), coalesce(sum(`+schema.SizeOf+`), 0)::bigint from walpost.dead_letters where slot = $1 and `+schema.WaitsForPerson+` group by 1, 2`, slot)
	if err == nil {
		var topic, at string
		var key []byte
		var n, size int64
		_, err = pgx.ForEachRow(rows, []any{&topic, &key, &at, &n, &size}, func() error {
			bytes += size
			if events += n; key != nil {
				// If somebody has edited the position, nobody knows which events of the key were sent before this one. All of them are parked
				// then: the error leaves the lowest position there is.
				parked[name{topic, string(key)}], _ = schema.ParsePosition(at)
			}
			return nil
		})
	}
	if err != nil {
		return nil, 0, 0, fmt.Errorf("read the parked keys in walpost.dead_letters: %w", err)
	}
	return parked, events, bytes, nil
}

// readLeft returns those of the keys of which something waits for a person behind a position; "": anywhere. What waits for its topic does not count:
// without a person, the key waits with its topic. The condition for the slot is such that only the index of the keys fits.
func readLeft(ctx context.Context, tx pgx.Tx, slot string, keys []name, behind string) (map[name]bool, error) {
	left := map[name]bool{}
	topics, values := apart(keys)
	rows, err := tx.Query(ctx, `select k.topic, k.key from unnest($2::text[], $3::bytea[]) k (topic, key)
		where exists (select from walpost.dead_letters d where sha256(d.key) = sha256(k.key) and d.key = k.key and d.slot || '' = $1 and coalesce(d.topic, '') = k.topic
		and d.position > $4 and `+schema.WaitsForPerson+`)`, slot, topics, values, behind)
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
func readSettled(ctx context.Context, tx pgx.Tx, slot string, from schema.Position) (found settled, repeats map[name]*repeat, err error) {
	found, repeats = settled{}, map[name]*repeat{}
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
			if found.add(p, released != nil); released != nil {
				n := name{topic, string(released)}
				if repeats[n] == nil {
					repeats[n] = &repeat{}
				}
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
	return found, repeats, nil
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
