package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// shape is a kind of transaction. It returns the rows that are committed if the transaction is, and the rows that are undone in any case.
// With errUndone none is committed.
type shape func(w *writer, ctx context.Context, tx pgx.Tx) (kept, undone []string, err error)

// shapes are the kinds of transactions, and how many of a hundred are of each kind.
var shapes = []struct {
	share int
	do    shape
}{
	{46, plain}, {14, savepoint}, {8, rolledBack}, {12, copied}, {10, deleted}, {10, swallowed},
}

// prepares is how many of a hundred transactions are committed in two phases.
const prepares = 8

// transact runs one transaction. After an error the session cannot be used any more.
func (w *writer) transact(ctx context.Context) error {
	if w.r.IntN(100) < prepares {
		return w.prepare(ctx)
	}
	tx, err := w.conn.Begin(ctx)
	if err != nil {
		return err
	}
	kept, undone, err := w.shape()(w, ctx, tx)
	w.claim(undone, false)
	if err != nil { // COMMIT was never sent
		w.claim(kept, false)
		if rollback := tx.Rollback(ctx); rollback != nil || !errors.Is(err, errUndone) {
			return errors.Join(err, rollback)
		}
		return nil
	}
	if err := tx.Commit(ctx); err != nil {
		return err // only the server knows whether it is committed
	}
	w.claim(kept, true)
	return nil
}

func (w *writer) shape() shape {
	at := w.r.IntN(100)
	for _, s := range shapes {
		if at -= s.share; at < 0 {
			return s.do
		}
	}
	return plain
}

// second is the most rows of a transaction's second statement.
const second = 3

// plain inserts in one or two statements, with a pause between.
func plain(w *writer, ctx context.Context, tx pgx.Tx) (kept, undone []string, err error) {
	first := w.batch(max(1, w.size()-second))
	kept = first.ids
	if err = first.insert(ctx, tx); err != nil || w.r.IntN(2) == 0 {
		return kept, nil, err
	}
	if err = w.pause(ctx); err != nil {
		return kept, nil, err
	}
	more := w.batch(1 + w.r.IntN(second))
	return append(kept, more.ids...), nil, more.insert(ctx, tx)
}

// savepoint rolls back the rows in the middle.
func savepoint(w *writer, ctx context.Context, tx pgx.Tx) (kept, undone []string, err error) {
	before, between, after := w.batch((w.size()+1)/2), w.batch(w.size()), w.batch((w.size()+1)/2)
	kept, undone = append(before.ids, after.ids...), between.ids
	if err = before.insert(ctx, tx); err != nil {
		return kept, undone, err
	}
	if _, err = tx.Exec(ctx, "SAVEPOINT s"); err != nil {
		return kept, undone, err
	}
	if err = between.insert(ctx, tx); err != nil {
		return kept, undone, err
	}
	if err = w.pause(ctx); err != nil {
		return kept, undone, err
	}
	if _, err = tx.Exec(ctx, "ROLLBACK TO SAVEPOINT s"); err != nil {
		return kept, undone, err
	}
	return kept, undone, after.insert(ctx, tx)
}

func rolledBack(w *writer, ctx context.Context, tx pgx.Tx) (kept, undone []string, err error) {
	b := w.batch(w.size())
	if err = b.insert(ctx, tx); err == nil {
		err = errUndone
	}
	return nil, b.ids, err
}

// copied uses COPY: several of its rows share one WAL record.
func copied(w *writer, ctx context.Context, tx pgx.Tx) (kept, undone []string, err error) {
	b := w.batch(w.size())
	rows := pgx.CopyFromSlice(len(b.ids), func(i int) ([]any, error) {
		var payload *string
		if b.sizes[i] != tombstone {
			text := fmt.Sprintf(`{"id": %q}`, b.ids[i])
			payload = &text
		}
		return []any{b.ids[i], b.topics[i], b.keys[i], "Happened", payload, b.created[i]}, nil
	})
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"walpost", "outbox"}, []string{"id", "aggregatetype", "aggregateid", "type", "payload", "created_at"}, rows)
	return b.ids, nil, err
}

// deleted deletes the rows that it inserts, as many services do to keep the outbox empty. The events have to arrive all the same.
func deleted(w *writer, ctx context.Context, tx pgx.Tx) (kept, undone []string, err error) {
	b := w.batch(w.size())
	if err = b.insert(ctx, tx); err != nil {
		return b.ids, nil, err
	}
	_, err = tx.Exec(ctx, "DELETE FROM walpost.outbox WHERE id = ANY($1::text[]::uuid[])", b.ids)
	return b.ids, nil, err
}

// swallowed catches an exception in PL/pgSQL, which undoes the block that raised it.
func swallowed(w *writer, ctx context.Context, tx pgx.Tx) (kept, undone []string, err error) {
	b := w.batch(w.size())
	failed := w.batch(1)
	if err = b.insert(ctx, tx); err != nil {
		return b.ids, failed.ids, err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN
		INSERT INTO walpost.outbox (id, aggregatetype, aggregateid, type) VALUES ('%s', '%s', 'key-1', 'Happened');
		PERFORM 1/0;
	EXCEPTION WHEN division_by_zero THEN NULL; END $$`, failed.ids[0], failed.topics[0]))
	return b.ids, failed.ids, err
}

// prepare commits in two phases, or rolls back in the second phase.
func (w *writer) prepare(ctx context.Context) error {
	w.gids++
	gid := fmt.Sprintf("%s%d", w.gidPrefix(), w.gids)
	b := w.batch(w.size())
	if _, err := w.conn.Exec(ctx, "BEGIN"); err != nil {
		w.claim(b.ids, false)
		return err
	}
	if err := b.insert(ctx, w.conn); err != nil {
		w.claim(b.ids, false)
		return err
	}
	if _, err := w.conn.Exec(ctx, "PREPARE TRANSACTION '"+gid+"'"); err != nil {
		return err // if it was prepared, the next session rolls it back; after a crash there may be none, so nothing is claimed
	}
	if err := w.pause(ctx); err != nil {
		return err
	}
	if w.r.IntN(3) == 0 {
		_, err := w.conn.Exec(ctx, "ROLLBACK PREPARED '"+gid+"'")
		w.claim(b.ids, false)
		return err
	}
	_, err := w.conn.Exec(ctx, "COMMIT PREPARED '"+gid+"'")
	if err == nil {
		w.claim(b.ids, true)
	}
	return err
}
