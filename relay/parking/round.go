package parking

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/schema"
)

// round is what is published of a topic at once.
type round struct {
	topic  string
	ids    []int64
	last   string // the highest position
	keys   []name
	lowest []schema.Position // of each key
	bytes  int64             // of the letters
	first  bool              // everything before them is in Kafka, or parked

	released, returned int // letters that were published, keys that came back
}

// take chooses the next dead letters of a topic that are to be published, in order: what is given back, and everything that is parked of the
// same keys.
func (p *Parker) take(ctx context.Context, tx pgx.Tx, topic string, most int64) (*round, error) {
	if err := indexed(ctx, tx); err != nil {
		return nil, err
	}
	for {
		r, err := p.given(ctx, tx, topic, most)
		if err != nil {
			return nil, err
		}
		begun := r.keys[:0:0]
		for i, n := range r.keys {
			p.keys.add(n, r.lowest[i])
			p.keys.update(n, func(k *key) {
				if !k.releasing {
					begun = append(begun, n)
				}
			})
		}
		// What was parked of the key before the relay noticed that it is given back. Nobody can discard what is on its way.
		joined, err := p.join(ctx, tx, topic, begun)
		if err != nil {
			return nil, err
		}
		for _, n := range begun {
			p.keys.update(n, func(k *key) { k.releasing, k.returned = true, false })
		}
		if joined > 0 {
			continue // it may come before what was chosen
		}
		// The last step of keys begins of which nothing else is parked.
		more, err := readLeft(ctx, tx, p.cfg.Slot, r.keys, r.last)
		if err != nil {
			return nil, err
		}
		p.keep(without(r.keys, more))
		return r, nil
	}
}

// given reads which dead letters of a topic are given back, up to the limits of a round and most bytes. It takes those first that are
// confirmed: then no older event waits in a lane. It leaves those for later whose position the stream of this session has not reached: older
// events of their keys may not have been sent yet.
func (p *Parker) given(ctx context.Context, tx pgx.Tx, topic string, most int64) (*round, error) {
	r, err := p.givenBefore(ctx, tx, topic, most, max(p.resumed.Load(), p.cfg.Reached()))
	if r != nil && len(r.ids) > 0 {
		r.first = true
		return r, nil
	}
	if err == nil {
		r, err = p.givenBefore(ctx, tx, topic, most, max(p.resumed.Load(), p.cfg.Handed()))
	}
	return r, err
}

// givenBefore is given for the dead letters before a position.
func (p *Parker) givenBefore(ctx context.Context, tx pgx.Tx, topic string, most int64, lsn uint64) (*round, error) {
	rows, err := tx.Query(ctx, `select id, key, position, coalesce(octet_length(value), 0) + coalesce(octet_length(key), 0)
		  + (select coalesce(sum(octet_length(h) + 24), 0) from unnest(header_names) h) + (select coalesce(sum(octet_length(h) + 24), 0) from unnest(header_values) h)
		from walpost.dead_letters where slot = $1 and coalesce(topic, '') = $2 and state = 'retrying' and substr(position, 10, 16) < $4
		order by position limit $3`, p.cfg.Slot, topic, mostInRound, fmt.Sprintf("%016X", lsn))
	r := &round{topic: topic}
	if err == nil {
		var id, size int64
		var key []byte
		var at string
		seen, full := map[string]bool{}, false
		_, err = pgx.ForEachRow(rows, []any{&id, &key, &at, &size}, func() error {
			if full = full || len(r.ids) > 0 && r.bytes+size > most; full {
				return nil
			}
			r.ids, r.bytes, r.last = append(r.ids, id), r.bytes+size, at
			if key != nil && !seen[string(key)] {
				seen[string(key)] = true
				lowest, _ := schema.ParsePosition(at)
				r.keys, r.lowest = append(r.keys, name{topic, string(key)}), append(r.lowest, lowest)
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("look for dead letters that are given back: %w", err)
	}
	return r, nil
}

// ofKeys is the SQL of an update of rows d that wait for a person, of a slot, $1, and a topic, $2, with the keys $3. The condition for the slot is
// such that only the index of the keys fits.
const ofKeys = ` from unnest($3::bytea[]) k (key)
	where sha256(d.key) = sha256(k.key) and d.key = k.key and d.slot || '' = $1 and coalesce(d.topic, '') = $2 and ` + schema.WaitsForPerson

// join gives back everything that is parked of keys of a topic, and returns how much that is. What waits for the topic stays: it is published with
// the topic.
func (p *Parker) join(ctx context.Context, tx pgx.Tx, topic string, keys []name) (int64, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	_, values := apart(keys)
	done, err := tx.Exec(ctx, `update walpost.dead_letters d set state = 'retrying', updated_at = clock_timestamp()`+ofKeys+` and d.state in ('head', 'waiting')`, p.cfg.Slot, topic, values)
	if err != nil {
		return 0, fmt.Errorf("take dead letters: %w", err)
	}
	return done.RowsAffected(), nil
}

// amongIDs is the SQL of a condition for rows with the ids $1 and a state. The condition for the state is such that only the primary key fits, and
// not a partial index: if many rows have got the state since the last ANALYZE, Postgres would read all of them for each statement.
const amongIDs = `id = any($1) and state || '' = `

// read reads the dead letters of a round that are still given back.
func (r *round) read(ctx context.Context, tx pgx.Tx) ([]*replay, error) {
	rows, err := tx.Query(ctx, `select `+replayColumns+` from walpost.dead_letters where `+amongIDs+`'retrying' order by position`, r.ids)
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	replays, err := pgx.CollectRows(rows, scanReplay)
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	for _, one := range replays {
		one.letter.Retried = true
	}
	return replays, nil
}

// replayColumns are the columns that scanReplay reads. Somebody may have edited the timestamp.
const replayColumns = `id, position, coalesce(topic, ''), coalesce(partition, -1), key, value, header_names, header_values, reason,
	case when isfinite(record_timestamp) then record_timestamp end`

func scanReplay(row pgx.CollectableRow) (*replay, error) {
	l := &schema.DeadLetter{Timestamp: schema.NoTime}
	r := &replay{letter: l}
	var names, values [][]byte
	var stamp *time.Time
	err := row.Scan(&r.id, &r.at, &l.Topic, &l.Partition, &l.Key, &l.Value, &names, &values, &l.Code, &stamp)
	if err != nil {
		return nil, err
	}
	r.name = nameOf(l)
	if l.At, err = schema.ParsePosition(r.at); err == nil && len(names) != len(values) {
		err = fmt.Errorf("it has %d header_names and %d header_values", len(names), len(values))
	}
	if err != nil { // somebody has edited the row
		r.back = &schema.DeadLetter{Head: true, Code: reason.Unexpected, Detail: err.Error()}
		return r, nil
	}
	l.Headers = func(yield func(schema.DeadHeader) bool) {
		for i := range names {
			if !yield(schema.DeadHeader{Name: names[i], Value: values[i]}) {
				return
			}
		}
	}
	if stamp != nil {
		l.Timestamp = stamp.UnixMilli()
	}
	r.size = l.Size()
	// A released or discarded row is emptied after a while. Published as an empty record, it would delete the key's state in a compacted topic.
	// A row without a timestamp never was a record: the sink refuses it, and its detail stays.
	if stamp != nil && !slices.ContainsFunc(names, func(name []byte) bool { return string(name) == "id" }) {
		r.back = &schema.DeadLetter{Head: true, Code: reason.Unexpected, Detail: noID}
	}
	return r, nil
}

// noID is the detail of a row whose record has no header id. Every record that walpost makes has one.
const noID = "its record has no header id: walpost has emptied it after it was released or discarded, or somebody has removed its headers; restore them, or discard the event"

// settle records what became of replays of a topic. It returns the keys of which nothing is parked any more: their last step has begun.
func (p *Parker) settle(ctx context.Context, tx pgx.Tx, r *round, replays []*replay) (over []name, err error) {
	var released []int64
	returned := map[name]bool{}
	var b pgx.Batch
	for _, one := range replays {
		if one.acked {
			released = append(released, one.id)
			continue
		}
		state, more := "waiting", 0
		switch {
		case one.back.Head:
			state, more = "head", 1
			if one.letter.Key != nil {
				returned[one.name] = true
			}
		case !p.keys.isReturned(one.name, one.letter.At):
			continue // its topic takes no records, or the session has ended: it is given back still
		}
		b.Queue(`update walpost.dead_letters set state = $2, attempts = least(attempts, 2147483646) + $3, reason = coalesce(nullif($4, ''), reason),
			detail = coalesce($5, detail), updated_at = clock_timestamp() where id = $1 and state || '' = 'retrying'`,
			one.id, state, more, refusalCode(one.back), orNull(one.back.Detail))
	}
	b.Queue(`update walpost.dead_letters set state = 'released', updated_at = clock_timestamp() where `+amongIDs+`'retrying'`, released)
	for n := range returned {
		// What was given back with it waits again. From here on, what is parked of the key only waits.
		p.keys.update(n, func(k *key) { k.releasing, k.returned = false, false })
		b.Queue(`update walpost.dead_letters set state = 'waiting', updated_at = clock_timestamp()
			where slot = $1 and coalesce(topic, '') = $2 and sha256(key) = sha256($3) and key = $3 and state = 'retrying' and `+schema.WaitsForPerson, p.cfg.Slot, n.topic, []byte(n.key))
	}
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("record that %d dead letters of topic %s were released, and %d came back: %w", len(released), r.topic, len(replays)-len(released), err)
	}
	r.released, r.returned = len(released), len(returned)
	return p.over(ctx, tx, r.keys)
}

// over returns those of the keys of which the table has nothing that is parked, and begins their last step.
func (p *Parker) over(ctx context.Context, tx pgx.Tx, keys []name) (over []name, err error) {
	if err := indexed(ctx, tx); err != nil {
		return nil, err
	}
	left, err := readLeft(ctx, tx, p.cfg.Slot, keys, "")
	if err != nil {
		return nil, err
	}
	over = without(keys, left)
	p.keep(over)
	return over, nil
}

// without returns the names that are not in set.
func without(names []name, set map[name]bool) (rest []name) {
	for _, n := range names {
		if !set[n] {
			rest = append(rest, n)
		}
	}
	return rest
}

// indexed makes the statements of a transaction use the indexes that are made for them. After many rows have got another state at once, Postgres
// does not know how many there are of which, and would read all of them each time.
func indexed(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `select set_config(name, 'off', true) from unnest('{enable_hashjoin,enable_mergejoin,enable_bitmapscan,enable_seqscan,enable_sort}'::text[]) name`)
	return err
}

// refusalCode returns the new reason of an event that was refused again; "": the old one stays.
func refusalCode(back *schema.DeadLetter) string {
	if !back.Head {
		return ""
	}
	return string(back.Code)
}
