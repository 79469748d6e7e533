package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Letter is a dead letter without its contents.
type Letter struct {
	ID       int64     `json:"id"`
	EventID  *string   `json:"event_id"` // null: not known
	Topic    *string   `json:"topic"`    // null: no name could be made
	Key      *string   `json:"key"`      // null: it has none
	Type     *string   `json:"type"`     // null: not known
	Reason   string    `json:"reason"`
	Sequence string    `json:"sequence"` // as in ce_sequence
	ParkedAt time.Time `json:"parked_at"`
	State    string    `json:"state"`
	Attempts int       `json:"attempts"` // how often it was published again, and refused

	Detail    *string   `json:"detail,omitempty"`     // the message of the broker or of walpost
	Note      *string   `json:"note,omitempty"`       // of the person who discarded it
	Actor     *string   `json:"actor,omitempty"`      // who gave it back or discarded it: the database role and the user of the operating system
	UpdatedAt time.Time `json:"updated_at,omitempty"` // when its state last changed
}

const columns = `id, event_id, topic, key, type, reason, position, parked_at, state, attempts, detail, note, actor, updated_at`

func scan(row pgx.CollectableRow) (l Letter, err error) {
	var key []byte
	err = row.Scan(&l.ID, &l.EventID, &l.Topic, &key, &l.Type, &l.Reason, &l.Sequence, &l.ParkedAt, &l.State, &l.Attempts, &l.Detail, &l.Note, &l.Actor, &l.UpdatedAt)
	if key != nil {
		text := string(key)
		l.Key = &text
	}
	return l, err
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
		l, err := scan(rows)
		if err == nil {
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
	rows, err := db.Query(ctx, `select topic, reason, state, count(*), count(distinct key), min(parked_at) from walpost.dead_letters where `+where+`
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
	rows, err := db.Query(ctx, `select `+columns+` from walpost.dead_letters where slot = $1 and id = $2`, slot, id)
	if err == nil {
		c.Letter, err = pgx.CollectExactlyOneRow(rows, scan)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		err = db.QueryRow(ctx, `select partition, record_timestamp, header_names, header_values, value from walpost.dead_letters where slot = $1 and id = $2`, slot, id).
			Scan(&c.Partition, &c.Timestamp, &names, &values, &c.Value)
	}
	if err != nil {
		return nil, fmt.Errorf("read dead letter %d: %w", id, err)
	}
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
