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
// record is of no use any more, and may be large or private. It leaves what Postgres may deliver again, that is, from the confirmed position on. It changes a limited number, so that
// nobody has to wait for long; more reports that there are others.
func purge(ctx context.Context, c *connection, holder string, confirmed uint64) (more bool, err error) {
	const old = `select id from walpost.dead_letters where slot = $1 and state in ('released', 'discarded') and substr(position, 10, 16) < $2`
	err = c.inTx(ctx, holder, func(ctx context.Context, tx pgx.Tx) error {
		for _, p := range []struct {
			sql  string
			args []any
		}{
			{`delete from walpost.dead_letters where id in (` + old + ` and reason = 'topic_blocked' and state = 'released' limit $3)`, nil},
			{`delete from walpost.dead_letters where id in (` + old + ` and updated_at < clock_timestamp() - $4::interval limit $3)`, []any{stayFor}},
			{`update walpost.dead_letters set value = null, header_names = '{}', header_values = '{}' where id in (` + old + ` and (value is not null or header_names <> '{}') limit $3)`, nil},
		} {
			done, err := tx.Exec(ctx, p.sql, append([]any{c.p.cfg.Slot, fmt.Sprintf("%016X", confirmed), mostLetters}, p.args...)...)
			if err != nil {
				return fmt.Errorf("purge walpost.dead_letters: %w", err)
			}
			more = more || done.RowsAffected() == mostLetters
		}
		return nil
	})
	return more, err
}
