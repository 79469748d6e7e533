package parking

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"walpost/relay/deadletter"
)

// parkBeyond parks what is given back of a topic at positions beyond the server's WAL, with everything else of the same keys: the stream may
// never reach such a position, and the order of these keys is not known. deadletter.GiveBack refuses such keys, so an older version gave them
// back, or somebody has edited the table since. Nothing of the topic may be on its way to Kafka.
func (p *Parker) parkBeyond(ctx context.Context, c *connection, holder, topic string) error {
	var events int
	err := c.inTx(ctx, holder, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `update walpost.dead_letters set state = 'head', reason = 'unexpected', updated_at = clock_timestamp(),
			detail = 'its position lies beyond the WAL of this server: somebody has edited it, or the table comes from another server; correct the position, or discard the event'
			where slot = $1 and coalesce(topic, '') = $2 and state = 'retrying' and `+deadletter.Beyond+` returning key`, p.cfg.Slot, topic)
		var keys [][]byte
		if err == nil {
			keys, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
		}
		if err == nil {
			events = len(keys)
			_, err = tx.Exec(ctx, `update walpost.dead_letters d set state = 'waiting', updated_at = clock_timestamp()`+ofKeys+` and d.state = 'retrying'`, p.cfg.Slot, topic, keys)
		}
		if err != nil {
			return fmt.Errorf("park what is given back of topic %s beyond the server's WAL: %w", topic, err)
		}
		return nil
	})
	p.forgetRelease(topic)
	if err == nil && events > 0 {
		p.cfg.Log.Warn("events that were given back are parked again with their keys: their positions lie beyond the WAL of this server", "topic", topic, "events", events, "cure", "walpost dead-letter list")
	}
	return err
}
