package parking

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Old dead letters are purged so often, and stay so long.
const (
	purgeEvery = time.Hour
	stayFor    = 30 * 24 * time.Hour
)

// purge deletes dead letters that were released or discarded long ago, and those that only waited for their topic. It empties younger ones: the
// record is of no use any more, and may be large or private. It leaves what Postgres may deliver again, that is, from the confirmed position on.
// It changes a limited number, so that nobody has to wait for long; more reports that there are others.
func purge(ctx context.Context, c *connection, holder string, confirmed uint64) (more bool, err error) {
	err = c.inTx(ctx, holder, func(ctx context.Context, tx pgx.Tx) (err error) {
		more, err = purgeIn(ctx, tx, c.p.cfg.Slot, confirmed)
		return err
	})
	return more, err
}

// settledBefore is the SQL of the ids of a slot's rows that are released or discarded, and that Postgres cannot deliver again.
const settledBefore = `select id from walpost.dead_letters where slot = $1 and state in ('released', 'discarded') and substr(position, 10, 16) < $2`

// purges are the statements of a purge. Each one has an index of its own, and ids in the order of that index. Postgres uses no other one, because
// the transaction must not sort. Otherwise it might read all rows of the slot, of which millions may wait for a topic. A condition with
// clock_timestamp(), which is volatile, would not be one of the index.
var purges = []struct {
	sql  string
	args []any
}{
	{`delete from walpost.dead_letters where id = any(array(` + settledBefore + ` and reason = 'topic_blocked' and state = 'released' order by substr(position, 10, 16) limit $3))`, nil},
	{`delete from walpost.dead_letters where id = any(array(` + settledBefore + ` and updated_at < now() - $4::interval order by updated_at limit $3))`, []any{stayFor}},
	{`update walpost.dead_letters set value = null, header_names = '{}', header_values = '{}'
		where id = any(array(` + settledBefore + ` and (value is not null or header_names <> '{}') order by substr(position, 10, 16) limit $3))`, nil},
}

// purgeIn is purge in a transaction.
func purgeIn(ctx context.Context, tx pgx.Tx, slot string, confirmed uint64) (more bool, err error) {
	if err := indexed(ctx, tx); err != nil {
		return false, err
	}
	for _, p := range purges {
		done, err := tx.Exec(ctx, p.sql, append([]any{slot, fmt.Sprintf("%016X", confirmed), mostLetters}, p.args...)...)
		if err != nil {
			return false, fmt.Errorf("purge walpost.dead_letters: %w", err)
		}
		more = more || done.RowsAffected() == mostLetters
	}
	return more, nil
}
