package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"walpost/schema"
)

// Letter is a dead letter without its contents.
type Letter struct {
	ID       int64     `json:"id"`
	EventID  *string   `json:"event_id"` // null: not known
	Topic    *string   `json:"topic"`    // null: no name could be made
	Key      *string   `json:"key"`      // null: it has none; where it is no text, as far as it is one
	Type     *string   `json:"type"`     // null: not known
	Reason   string    `json:"reason"`
	Sequence string    `json:"sequence"` // as in ce_sequence
	ParkedAt time.Time `json:"parked_at"`
	State    string    `json:"state"`
	Attempts int       `json:"attempts"` // how often it was published again, and refused

	KeyBytes  []byte    `json:"key_bytes,omitempty"`  // base64; the key if it is no text
	Detail    *string   `json:"detail,omitempty"`     // the message of the broker or of walpost
	Note      *string   `json:"note,omitempty"`       // of the person who discarded it
	Actor     *string   `json:"actor,omitempty"`      // who gave it back or discarded it: the database role and the user of the operating system
	UpdatedAt time.Time `json:"updated_at,omitempty"` // when its state last changed
}

var columns = `id, event_id, topic, key, type, reason, position, ` + finite("parked_at") + `, state, attempts, detail, note, actor, ` + finite("updated_at")

// finite returns a column of timestamps as SQL that yields only what a time.Time can be and JSON can show. A table that was edited by hand may
// have others, such as infinity.
func finite(column string) string {
	return `case when ` + column + ` is not null then greatest(least(` + column + `, '9999-12-30Z'), '0001-01-02Z') end`
}

// fields returns what to scan columns into. done completes the letter afterwards.
func (l *Letter) fields() (targets []any, done func()) {
	var key []byte
	return []any{&l.ID, &l.EventID, &l.Topic, &key, &l.Type, &l.Reason, &l.Sequence, &l.ParkedAt, &l.State, &l.Attempts, &l.Detail, &l.Note, &l.Actor, &l.UpdatedAt},
		func() { l.setKey(key) }
}

// setKey sets the key, which is nil if there is none.
func (l *Letter) setKey(key []byte) {
	if key == nil {
		return
	}
	text := string(key)
	if l.Key = &text; !utf8.Valid(key) {
		l.KeyBytes = key
	}
}

// List calls f for each dead letter of the slot that fits, in the order of the events.
func List(ctx context.Context, db *pgx.Conn, slot string, filter Filter, f func(Letter) error) error {
	where, args := filter.where(slot)
	rows, err := db.Query(ctx, `select `+columns+` from walpost.dead_letters where `+where+` order by position`, args...)
	if err != nil {
		return fmt.Errorf("list dead letters: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var l Letter
		targets, done := l.fields()
		err := rows.Scan(targets...)
		if err == nil {
			done()
			err = f(l)
		}
		if err != nil {
			return fmt.Errorf("list dead letters: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list dead letters: %w", err)
	}
	return nil
}

// Group counts the parked events of one topic and reason.
type Group struct {
	Topic  *string   `json:"topic"`
	Reason string    `json:"reason"`
	State  string    `json:"state"`
	Events int64     `json:"events"`
	Keys   int64     `json:"keys"`
	Oldest time.Time `json:"oldest"`
}

// Groups counts the dead letters of the slot that fit, the most numerous first.
func Groups(ctx context.Context, db *pgx.Conn, slot string, filter Filter) ([]Group, error) {
	where, args := filter.where(slot)
	rows, err := db.Query(ctx, `select topic, reason, state, count(*), count(distinct key), `+finite("min(parked_at)")+` from walpost.dead_letters where `+where+`
		group by 1, 2, 3 order by 4 desc, 1, 2, 3`, args...)
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	groups, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Group])
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	return groups, nil
}

// Content is a dead letter with the record that walpost wanted to send.
type Content struct {
	Letter
	Slot      string     `json:"slot"`
	Partition *int32     `json:"partition"` // null: the row names none
	Timestamp *time.Time `json:"record_timestamp"`
	Headers   []Header   `json:"headers"`
	Value     []byte     `json:"value"` // base64; null: a tombstone
}

// Header is a header of the record.
type Header struct {
	Name  string  `json:"name"`
	Value *string `json:"value"`
}

// Show returns a dead letter of the slot by its id, nil if there is none.
func Show(ctx context.Context, db *pgx.Conn, slot string, id int64) (*Content, error) {
	c := Content{Slot: slot}
	var names, values [][]byte
	targets, done := c.fields()
	err := db.QueryRow(ctx, `select `+columns+`, partition, `+finite("record_timestamp")+`, header_names, header_values, value
		from walpost.dead_letters where slot = $1 and id = $2`, slot, id).Scan(append(targets, &c.Partition, &c.Timestamp, &names, &values, &c.Value)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read dead letter %d: %w", id, err)
	}
	done()
	for i, n := range names {
		h := Header{Name: string(n)}
		if i < len(values) && values[i] != nil {
			text := string(values[i])
			h.Value = &text
		}
		c.Headers = append(c.Headers, h)
	}
	return &c, nil
}

// Summary says what is parked.
type Summary struct {
	Events  int64
	Keys    int64     // an event without a key has none
	Back    int64     // events that are given back and not published yet
	Oldest  time.Time // when the oldest event was parked; zero: nothing is parked
	Reasons []ByReason
	Topics  []ByTopic // topics that take no records; what waits for them does not count above
}

// ByTopic counts the events that wait for a topic.
type ByTopic struct {
	Topic  string
	Detail string    // why the topic takes no records, after a reason code and a colon; "": not known
	Since  time.Time // when the first of them was parked, in the order of the events
	Events int64
	Bytes  int64 // of their keys, values and headers
}

// ByReason counts parked events of one reason.
type ByReason struct {
	Reason string
	Events int64
}

// Summarize returns what is parked of the slot, with the most frequent reasons first.
func Summarize(ctx context.Context, db *pgx.Conn, slot string) (s Summary, err error) {
	var oldest *time.Time
	err = db.QueryRow(ctx, `select count(*), count(distinct (coalesce(topic, ''), key)) filter (where key is not null), count(*) filter (where state = 'retrying'), `+
		finite("min(parked_at)")+` from walpost.dead_letters where slot = $1 and `+schema.WaitsForPerson, slot).Scan(&s.Events, &s.Keys, &s.Back, &oldest)
	if err != nil {
		return s, fmt.Errorf("count dead letters: %w", err)
	}
	if oldest != nil {
		s.Oldest = *oldest
	}
	rows, err := db.Query(ctx, `select reason, count(*) from walpost.dead_letters where slot = $1 and `+schema.WaitsForPerson+` group by 1 order by 2 desc, 1`, slot)
	if err == nil {
		s.Reasons, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ByReason])
	}
	if err != nil {
		return s, fmt.Errorf("count dead letters by reason: %w", err)
	}
	s.Topics, err = Topical(ctx, db, slot)
	return s, err
}

// Querier is a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Topical returns the topics for which events of the slot wait, in the order of their names. Detail and Since are those of the first event that
// waits: an edited row behind it does not change them.
func Topical(ctx context.Context, q Querier, slot string) (topics []ByTopic, err error) {
	rows, err := q.Query(ctx, `
		select t.topic, coalesce(first.detail, ''), first.parked_at, events, bytes from (
		  select topic, count(*) as events, coalesce(sum(`+schema.SizeOf+`), 0)::bigint as bytes from walpost.dead_letters where slot = $1 and `+schema.IsBlocked+` group by topic) t,
		  lateral (select detail, `+finite("parked_at")+` as parked_at from walpost.dead_letters where slot = $1 and topic = t.topic and `+schema.IsBlocked+` order by position limit 1) first
		order by 1`, slot)
	if err == nil {
		topics, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ByTopic])
	}
	if err != nil {
		return nil, fmt.Errorf("count dead letters by topic: %w", err)
	}
	return topics, nil
}

// CountByTopic returns how many events of the slot wait for each topic. It is much faster than [Topical]: it reads an index, if the table was vacuumed
// after most of it was written, and no contents.
func CountByTopic(ctx context.Context, q Querier, slot string) (map[string]int64, error) {
	events := map[string]int64{}
	rows, err := q.Query(ctx, `select topic, count(*) from walpost.dead_letters where slot = $1 and `+schema.IsBlocked+` group by topic`, slot)
	if err == nil {
		var topic string
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&topic, &n}, func() error {
			events[topic] = n
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("count dead letters by topic: %w", err)
	}
	return events, nil
}

// Oldest returns when the first of the events that are parked now was parked, in the order of the events; zero: nothing is parked. It reads
// one row.
func Oldest(ctx context.Context, db *pgx.Conn, slot string) (at time.Time, err error) {
	err = db.QueryRow(ctx, `select `+finite("parked_at")+` from walpost.dead_letters where slot = $1 and `+schema.WaitsForPerson+` order by position limit 1`, slot).Scan(&at)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, fmt.Errorf("look for the oldest dead letter: %w", err)
	}
	return at, nil
}

// CountStrange counts the rows of the slot that no command shows, because their state does not exist. A relay, retry and discard make heads
// of them. It reads all rows of the slot.
func CountStrange(ctx context.Context, q Querier, slot string) (n int64, err error) {
	if err = q.QueryRow(ctx, `select count(*) from walpost.dead_letters where slot = $1 and `+strange, slot).Scan(&n); err != nil {
		return 0, fmt.Errorf("count dead letters with an unknown state: %w", err)
	}
	return n, nil
}
