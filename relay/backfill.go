package relay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"walpost/relay/inflight"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// backfill publishes the rows of a snapshot, which reader reads, and returns when all are acked, or counts them if they are to be skipped.
// It calls imported when the snapshot is its own, and the connection that made it may go.
func (r *Relay) backfill(ctx context.Context, b *backfilling, reader *postgres.DB, p *postgres.Found, srv *replication.Server, snap replication.Snapshot, imported func()) error {
	// A role or database may have limits that suit services: this transaction takes as long as Kafka does.
	// Where a policy would hide rows, an error is wanted and not their silence.
	statements := []string{"set idle_in_transaction_session_timeout = 0", "set statement_timeout = 0", "set row_security = off"}
	if srv.Version >= 17_00_00 {
		statements = append(statements, "set transaction_timeout = 0")
	}
	statements = append(statements, "begin isolation level repeatable read, read only", "set transaction snapshot "+schema.QuoteLiteral(snap.Name))
	for _, sql := range statements {
		if _, err := reader.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("open the snapshot of slot %s: %w", r.cfg.Slot, err)
		}
	}
	imported()
	r.status.set(Starting, fmt.Sprintf("backfill: counting the rows of %s", r.cfg.Table))
	var count int64
	err := reader.QueryRow(ctx, "select count(*) from "+r.cfg.Table.String()).Scan(&count)
	if r.cfg.Backfill == "skip" {
		return r.skipped(count, err)
	}
	if err != nil {
		return fmt.Errorf("count the rows of %s: %w", r.cfg.Table, err)
	}
	r.log.Info("backfill: publishing the rows that are in the table already", "table", r.cfg.Table.String(), "rows", count)
	r.metrics.backfillRows.Add(float64(count))
	b.position = schema.Position{Timeline: srv.History.Owner(snap.LSN - 1), LSN: uint64(snap.LSN - 1)}
	stop := b.report(count)
	rows, err := b.run(ctx, reader, p, snap)
	stop()
	if err != nil {
		return fmt.Errorf("backfill %s after %d rows: %w", r.cfg.Table, rows, err)
	}
	r.log.Info("backfill: all rows are acked", "rows", rows)
	return nil
}

// skipped tells how many rows are left, where the role may count them.
func (r *Relay) skipped(count int64, err error) error {
	const text = "backfill is skip: rows that are in the table already are not published"
	switch {
	case pgerror.IsSQLState(err, "42501"): // for want of SELECT, or for row level security
		r.log.Warn(text, "table", r.cfg.Table.String(), "rows", "unknown: "+err.Error())
	case err != nil:
		return fmt.Errorf("count the rows of %s: %w", r.cfg.Table, err)
	default:
		r.log.Warn(text, "table", r.cfg.Table.String(), "rows", count)
	}
	return nil
}

// backfilling publishes one snapshot's rows as one transaction, in passes, with a window of its own: it confirms nothing.
type backfilling struct {
	relay    *Relay
	tracker  *inflight.Tracker
	sink     Sink
	pass     inflight.Pass
	position schema.Position // the byte before the snapshot's, so that what the slot brings sorts behind

	handed  atomic.Int64 // rows that the sink got
	counted int64        // rows that the metrics know to be acked
}

// A pass of a backfill, which has no reads to go by.
const (
	backfillRows  = 500
	backfillBytes = 256 << 10
)

// openBackfill opens the sink of a first start: the backfill's own, or the stream's if there is nothing to fill.
func (r *Relay) openBackfill(ctx context.Context) (*backfilling, error) {
	b := &backfilling{relay: r, tracker: inflight.NewTracker(r.budget)}
	r.metrics.filling.Store(b.tracker)
	if r.cfg.Backfill == "skip" {
		return b, r.openSink(ctx)
	}
	var err error
	if b.sink, err = r.cfg.OpenSink(ctx, b.tracker); err != nil {
		return nil, fmt.Errorf("open sink for the backfill: %w", err)
	}
	return b, nil
}

// close closes the backfill's sink, if it has one. What that held is held no more.
func (b *backfilling) close() {
	b.relay.metrics.filling.Store(nil)
	if b.sink == nil {
		return
	}
	if err := b.sink.Close(); err != nil {
		b.relay.log.Warn("close the backfill's sink", "error", err)
	}
	b.relay.budget.Reset()
}

func (b *backfilling) run(ctx context.Context, reader *postgres.DB, p *postgres.Found, snap replication.Snapshot) (rows int64, err error) {
	columns := b.relay.cfg.Mapping.Mapped(p.Table.Columns)
	plan, err := b.relay.cfg.Mapping.Plan(b.relay.cfg.Table, columns)
	if err != nil {
		return 0, err
	}
	// The text format, streamed: the server waits when the rows are not taken.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := reader.PgConn().ExecParams(ctx, backfillQuery(&b.relay.cfg, columns, p.Table.Partitioned), nil, nil, nil, nil)
	b.pass.Begin(0, schema.NoTime)
	var ev schema.Event
	for size := 0; result.NextRow(); rows++ {
		if rows > math.MaxUint32 {
			return rows, pgerror.Permanent(errors.New("more rows than positions have numbers"), "set outbox.backfill: skip, and publish old rows otherwise")
		}
		plan.Reset(&ev)
		width := 0
		for i, v := range result.Values() {
			width += len(v)
			if err := plan.Set(&ev, i, schema.TextFormat, v); err != nil {
				return rows, pgerror.Permanent(fmt.Errorf("row %d: %w", rows, err), "correct or delete the row")
			}
		}
		ev.CommitTime = schema.NoTime
		ev.Position = b.position
		ev.Position.Index = uint32(rows)
		if err := b.publish(ctx, &ev, width); err != nil {
			return rows, err
		}
		if size += width; size >= backfillBytes || rows%backfillRows == backfillRows-1 {
			b.handOver()
			size = 0
		}
		if err := b.refused(); err != nil {
			return rows, err
		}
	}
	if _, err := result.Close(); err != nil {
		return rows, err
	}
	b.pass.Seal(snap.LSN)
	b.handOver()
	return rows, b.wait(ctx, b.tracker.Changed, b.tracker.Drained)
}

// publish hands one row to the sink, when the budget lets it.
func (b *backfilling) publish(ctx context.Context, ev *schema.Event, size int) error {
	admits := func() bool { return b.tracker.Budget.Admits(size) }
	if !admits() {
		b.handOver()
		if err := b.wait(ctx, b.tracker.Budget.Freed, admits); err != nil {
			return err
		}
	}
	bytes, err := b.sink.Publish(ev, b.pass.Add())
	if err != nil {
		return refusedRow(err)
	}
	b.tracker.Budget.Take(bytes)
	return nil
}

func (b *backfilling) handOver() {
	events, _ := b.tracker.HandOver(&b.pass)
	b.handed.Add(int64(events))
	b.relay.filled = b.relay.filled || events > 0
	b.sink.Flush(false)
	b.account()
}

// wait waits for a condition that tokens announce.
func (b *backfilling) wait(ctx context.Context, token <-chan struct{}, done func() bool) error {
	defer b.account()
	for !done() {
		b.account()
		select {
		case <-token:
		case <-b.tracker.Changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := b.refused(); err != nil {
			return err
		}
	}
	return nil
}

func (b *backfilling) refused() error {
	if r, _ := b.tracker.Refusal(); r != nil {
		return refusedRow(r.Err)
	}
	return nil
}

func refusedRow(err error) error {
	return pgerror.Permanent(fmt.Errorf("event refused: %w", err), "the backfill begins again at the next start: correct or delete the row, or set outbox.backfill: skip")
}

// backfillQuery reads the rows in the order in which they were most likely inserted: by created_at, else by an integer id, then by place.
func backfillQuery(cfg *Config, columns []schema.TableColumn, partitioned bool) string {
	var names, order []string
	id := ""
	for _, c := range columns {
		names = append(names, pgx.Identifier{c.Name}.Sanitize())
		switch c.Name {
		case cfg.Mapping.Names[schema.CreatedAt]:
			order = append(order, pgx.Identifier{c.Name}.Sanitize())
		case cfg.Mapping.Names[schema.ID]:
			if c.OID == 20 || c.OID == 21 || c.OID == 23 { // int8, int2, int4
				id = pgx.Identifier{c.Name}.Sanitize()
			}
		}
	}
	if len(order) == 0 && id != "" {
		order = append(order, id)
	}
	if partitioned {
		order = append(order, "tableoid")
	}
	order = append(order, "ctid")
	return "select " + strings.Join(names, ", ") + " from " + cfg.Table.String() + " order by " + strings.Join(order, ", ")
}
