package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
)

// An idle outbox keeps no WAL, in a busy database or next to one. After every
// burst the slot is within 1 MB of the server's position again, without a row in
// the outbox and without a heartbeat.
func TestIdleOutboxPinsNothing(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	p.topic(t, "order", 1, nil)
	r := p.start(t)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'the only one')")
	p.settle(t)
	other := pgtest.New(t)
	for name, conn := range map[string]*pgx.Conn{"the same database": p.conn, "another database": other.Connect(t)} {
		execOn(t, conn, "CREATE TABLE busy (i int, filler text)")
		for burst := range 5 {
			before := ask[string](t, conn, "SELECT pg_current_wal_insert_lsn()::text")
			execOn(t, conn, "INSERT INTO busy SELECT i, repeat('x', 300) FROM generate_series(1, 20000) i")
			written := ask[int64](t, conn, "SELECT (pg_current_wal_insert_lsn() - $1::pg_lsn)::bigint", before)
			if written < 5<<20 {
				t.Fatalf("a burst of %d bytes is too small to show anything", written)
			}
			within(t, 20*time.Second, fmt.Sprintf("burst %d in %s: the slot is within 1 MB", burst, name), func() string {
				r.mustRun(t)
				lag := ask[int64](t, p.conn, "SELECT (pg_current_wal_insert_lsn() - confirmed_flush_lsn)::bigint FROM pg_replication_slots WHERE slot_name = $1", p.db.Name)
				if lag > 1<<20 {
					return fmt.Sprintf("%d bytes behind", lag)
				}
				return ""
			})
		}
	}
	r.stop(t)
}

// The slot is confirmed within a second after the acks.
func TestConfirmFollowsAcks(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	r := p.start(t)
	client := p.client(t)
	for i := range 5 {
		p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'x')")
		end := ask[string](t, p.conn, "SELECT pg_current_wal_flush_lsn()::text")
		p.awaitSize(t, client, topic, int64(i+1))
		acked := time.Now()
		confirmed := ""
		eventually(t, "it is confirmed", func() string {
			confirmed = ask[string](t, p.conn, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1 AND confirmed_flush_lsn >= $2::pg_lsn UNION ALL SELECT '' LIMIT 1", p.db.Name, end)
			if confirmed == "" {
				return "not yet"
			}
			return ""
		})
		// A second, and some time for a busy machine.
		if took := time.Since(acked); took > 3*time.Second {
			t.Errorf("confirmed %v after the ack", took)
		}
	}
	r.stop(t)
}
