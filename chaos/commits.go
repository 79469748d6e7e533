package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"walpost/chaos/verdict"
)

// commits reads the committed rows, in commit order, from a second slot, which nobody advances. Only the server's WAL has this order:
// writers do not learn whose COMMIT was first. The messages are parsed by pglogrepl, not by walpost's decoder.
func commits(ctx context.Context, conn *pgx.Conn, slot, database string) ([]verdict.Row, error) {
	if _, err := conn.Exec(ctx, "SET timezone = 'UTC'"); err != nil {
		return nil, err
	}
	messages, err := conn.Query(ctx, `SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL,
		'proto_version', '1', 'publication_names', 'walpost')`, slot)
	if err != nil {
		return nil, err
	}
	defer messages.Close()
	p := peeked{database: database, relations: make(map[uint32]*pglogrepl.RelationMessage)}
	for messages.Next() {
		var data []byte
		if err := messages.Scan(&data); err != nil {
			return nil, err
		}
		message, err := pglogrepl.Parse(data)
		if err != nil {
			return nil, err
		}
		if err := p.take(message); err != nil {
			return nil, err
		}
	}
	return p.rows, messages.Err()
}

// parked notes which rows have a dead letter, and what became of it. It also compares the table with what was discarded.
func (r *round) parked(ctx context.Context, conn *pgx.Conn, rows []verdict.Row) error {
	byID := make(map[string]int, len(rows))
	for i := range rows {
		byID[rows[i].ID] = i
	}
	var id string
	var at time.Time
	waited, err := conn.Query(ctx, `SELECT event_id, parked_at FROM waited`)
	if err != nil {
		return err
	}
	if _, err = pgx.ForEachRow(waited, []any{&id, &at}, func() error {
		if i, known := byID[id]; known {
			rows[i].Blocked = at
		}
		return nil
	}); err != nil {
		return err
	}
	letters, err := conn.Query(ctx, `SELECT event_id, parked_at, updated_at, reason, state FROM walpost.dead_letters
		WHERE slot = $1 AND NOT (reason = 'topic_blocked' AND state = 'released')`, r.name) // those came without being given back
	if err != nil {
		return err
	}
	var reason, state string
	var changed time.Time
	_, err = pgx.ForEachRow(letters, []any{&id, &at, &changed, &reason, &state}, func() error {
		i, known := byID[id]
		if !known {
			return fmt.Errorf("event %s has a dead letter, and was never committed", id)
		}
		row := &rows[i]
		row.Parked, row.Settled, row.Reason, row.Waited = at, changed, reason, reason == "key_parked"
		row.Released, row.Discarded = state == "released", r.discarded[id]
		if !row.Released && state != "discarded" || row.Discarded != (state == "discarded") {
			r.stuck = append(r.stuck, fmt.Sprintf("the dead letter of event %s is %s at the end; it was discarded: %t", id, state, row.Discarded))
		}
		return nil
	})
	return err
}

// peeked collects the rows that are read from the slot.
type peeked struct {
	database  string // and, with a dot, what topics' names begin with
	relations map[uint32]*pglogrepl.RelationMessage
	begin     *pglogrepl.BeginMessage
	open      int // index of the open transaction's first row
	rows      []verdict.Row
}

func (p *peeked) take(message pglogrepl.Message) error {
	switch m := message.(type) {
	case *pglogrepl.BeginMessage:
		p.begin, p.open = m, len(p.rows)
	case *pglogrepl.RelationMessage:
		p.relations[m.RelationID] = m
	case *pglogrepl.InsertMessage:
		relation := p.relations[m.RelationID]
		if relation == nil {
			return fmt.Errorf("read a row of relation %d: no relation message came before it", m.RelationID)
		}
		values := make(map[string][]byte, len(m.Tuple.Columns)) // without those that are NULL
		for i, c := range m.Tuple.Columns {
			if c.DataType != pglogrepl.TupleDataTypeNull {
				values[relation.Columns[i].Name] = c.Data
			}
		}
		created, err := time.Parse("2006-01-02 15:04:05.999999-07", string(values["created_at"]))
		if err != nil {
			return err
		}
		digest, err := contentOfRow(p.database, values, created, p.begin, len(p.rows)-p.open)
		if err != nil {
			return err
		}
		p.rows = append(p.rows, verdict.Row{ID: string(values["id"]), Topic: p.database + "." + string(values["aggregatetype"]), Key: string(values["aggregateid"]),
			Created: created, Bytes: len(values["payload"]), Committed: p.begin.CommitTime, Commit: uint64(p.begin.FinalLSN), Content: digest})
	}
	return nil
}
