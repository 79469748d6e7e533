package deadletter

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A shell that completes a word asks for few values, and at once.
const (
	mostRead = 10000 // rows that are read for the values of a column
	mostIDs  = 100
)

// Topics returns topics of dead letters in these states, for the completion of a word.
func Topics(ctx context.Context, db *pgx.Conn, slot string, states []string) ([]string, error) {
	return values(ctx, db, slot, states, "topic")
}

// Reasons returns reasons of dead letters in these states, for the completion of a word.
func Reasons(ctx context.Context, db *pgx.Conn, slot string, states []string) ([]string, error) {
	return values(ctx, db, slot, states, "reason")
}

func values(ctx context.Context, db *pgx.Conn, slot string, states []string, column string) ([]string, error) {
	rows, err := db.Query(ctx, `select distinct v from (select `+column+` as v from walpost.dead_letters where slot = $1 and state = any($2) limit $3) t where v is not null order by 1`,
		slot, states, mostRead)
	if err != nil {
		return nil, fmt.Errorf("look for values of %s: %w", column, err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// IDs returns the first dead letters in these states whose id begins with prefix, for the completion of a word.
func IDs(ctx context.Context, db *pgx.Conn, slot string, states []string, prefix string) (list []Letter, err error) {
	rows, err := db.Query(ctx, `select id, topic, key, reason from walpost.dead_letters where slot = $1 and state = any($2) and pg_catalog.starts_with(id::text, $3) order by position limit $4`,
		slot, states, prefix, mostIDs)
	if err != nil {
		return nil, fmt.Errorf("look for ids: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (l Letter, err error) {
		var key []byte
		err = row.Scan(&l.ID, &l.Topic, &key, &l.Reason)
		l.setKey(key)
		return l, err
	})
}
