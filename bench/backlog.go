package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/testenv/poll"
)

// workload describes a backlog.
type workload struct {
	name           string
	rows           int
	perTransaction int
}

// backlog is WAL that is written before it is read. Each run gets a slot of its
// own at the same position, so all runs drain the same bytes.
type backlog struct {
	workload
	dsn     string
	conn    *pgx.Conn
	end     string  // LSN after the last transaction
	payload float64 // mean bytes of a payload
	wal     int64   // bytes of WAL
	slots   int
}

const baseSlot = "bench_base"

// newDatabase creates a database with an outbox.
func (r *rig) newDatabase(ctx context.Context, name string) (*backlog, error) {
	dsn, err := r.database(ctx, name)
	if err != nil {
		return nil, err
	}
	b := &backlog{dsn: dsn}
	cmd := exec.CommandContext(ctx, r.walpost, "schema", "apply")
	cmd.Env, cmd.Dir = b.environment(), r.home.Dir()
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("walpost schema apply: %w\n%s", err, out)
	}
	if b.conn, err = pgx.Connect(ctx, b.dsn); err != nil {
		return nil, err
	}
	_, err = b.conn.Exec(ctx, "SELECT pg_create_logical_replication_slot('"+baseSlot+"', 'pgoutput')")
	return b, err
}

// environment returns the environment of a walpost process, without Kafka's part.
func (b *backlog) environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "WALPOST_POSTGRES_URL=" + b.dsn}
}

// fill commits the workload: payloads of 323 bytes, keys drawn from 10,000.
func (b *backlog) fill(ctx context.Context, load workload) error {
	b.workload = load
	begin, err := b.position(ctx)
	if err != nil {
		return err
	}
	_, err = b.conn.Exec(ctx, "SET synchronous_commit = off")
	if err != nil {
		return err
	}
	_, err = b.conn.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN
		FOR tx IN 0 .. %d LOOP
			INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
			SELECT 'order', (random() * 10000)::int::text, 'OrderPlaced', `+payloadSQL+` FROM generate_series(1, %d) i;
			COMMIT;
		END LOOP;
	END $$`, load.rows/load.perTransaction-1, load.perTransaction))
	if err != nil {
		return fmt.Errorf("fill the backlog: %w", err)
	}
	if _, err = b.conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	if b.end, err = b.position(ctx); err != nil {
		return err
	}
	const measure = "SELECT avg(octet_length(payload::text))::float8, ($1::pg_lsn - $2::pg_lsn)::bigint, count(*) FROM walpost.outbox"
	var rows int
	if err := b.conn.QueryRow(ctx, measure, b.end, begin).Scan(&b.payload, &b.wal, &rows); err != nil {
		return err
	}
	if rows != load.rows {
		return fmt.Errorf("fill the backlog: it has %d rows, want %d (a multiple of %d)", rows, load.rows, load.perTransaction)
	}
	return nil
}

// payloadSQL makes an order of 323 bytes, as the text of a jsonb.
const payloadSQL = `jsonb_build_object('order', lpad(i::text, 10, '0'), 'customer', md5(random()::text), 'note', repeat('0123456789abcdef', 14), 'total', 10000 + (random() * 80000)::int)`

// position returns the LSN up to which the WAL is on disk.
func (b *backlog) position(ctx context.Context) (lsn string, err error) {
	err = b.conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&lsn)
	return lsn, err
}

// newSlot creates a slot at the backlog's beginning.
func (b *backlog) newSlot(ctx context.Context) (string, error) {
	b.slots++
	name := fmt.Sprintf("bench_%d", b.slots)
	_, err := b.conn.Exec(ctx, "SELECT pg_copy_logical_replication_slot('"+baseSlot+"', '"+name+"')")
	return name, err
}

// drop drops a slot as soon as it is not in use.
func (b *backlog) drop(ctx context.Context, slot string) error {
	return poll.Until(ctx, func() (bool, error) {
		if pid, err := b.reader(ctx, slot); err != nil || pid != 0 {
			return false, err
		}
		_, err := b.conn.Exec(ctx, "SELECT pg_drop_replication_slot('"+slot+"')")
		return true, err
	})
}

// reader returns the process id of the walsender that serves a slot; 0: there is none.
func (b *backlog) reader(ctx context.Context, slot string) (pid int, err error) {
	err = b.conn.QueryRow(ctx, "SELECT coalesce(active_pid, 0) FROM pg_replication_slots WHERE slot_name = $1", slot).Scan(&pid)
	return pid, err
}

// awaitReader waits until a slot is in use.
func (b *backlog) awaitReader(ctx context.Context, slot string, ended <-chan struct{}) (pid int, err error) {
	err = poll.Every(ctx, 2*time.Millisecond, func() (bool, error) {
		pid, err = b.reader(ctx, slot)
		select {
		case <-ended:
			return false, errors.New("wait for the reader of the slot: it ended before it began to read")
		default:
			return pid != 0, err
		}
	})
	return pid, err
}

// close ends the backlog's session and its base slot.
func (b *backlog) close(ctx context.Context) error {
	_, err := b.conn.Exec(ctx, "SELECT pg_drop_replication_slot('"+baseSlot+"')")
	return errors.Join(err, b.conn.Close(ctx))
}
