package backfill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/reason"
	"walpost/relay/inflight"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// Sink is what a backfill needs of a sink. The contract is that of relay.Sink.
type Sink interface {
	Publish(ev *schema.Event, tx uint64) (bytes int, err error)
	Flush(flowing bool)
	Close() error
}

// Config configures a backfill. All fields are required, except Skip.
type Config struct {
	Source  *postgres.Source
	Tracker *inflight.Tracker // a tracker of its own: acks of a backfill confirm nothing
	Skip    bool              // rows are only counted, and not published
	Sink    Sink              // reports to Tracker; not needed with Skip
	Status  func(text string) // called with the progress, from any goroutine
	Rows    prometheus.Counter
	Done    prometheus.Counter // rows that were acked
	Logger  *slog.Logger
}

// Backfill publishes the rows of one snapshot as one transaction, in passes.
type Backfill struct {
	Config
	pass     inflight.Pass
	position schema.Position // of the next row

	handed  atomic.Int64 // rows that were handed to the sink
	counted int64        // acked rows that the metrics have counted
}

// New returns a backfill. It does nothing before Run.
func New(cfg Config) *Backfill { return &Backfill{Config: cfg} }

// Run publishes the rows of the snapshot, and returns when all are acked. It reads them over the connection reader, with the columns in p.
// It calls imported as soon as reader has imported the snapshot: then the walsender that exported the snapshot is free. Errors that only a
// person can cure are faults of package pgerror.
func (b *Backfill) Run(ctx context.Context, reader *postgres.DB, p *postgres.Found, srv *replication.Server, snap replication.Snapshot, imported func() error) error {
	// A role or database may have time limits that suit services, but this transaction takes as long as Kafka does. With row_security off,
	// a policy that hides rows causes an error.
	statements := []string{"set idle_in_transaction_session_timeout = 0", "set statement_timeout = 0", "set row_security = off"}
	if srv.Version >= 17_00_00 {
		statements = append(statements, "set transaction_timeout = 0")
	}
	statements = append(statements, "begin isolation level repeatable read, read only", "set transaction snapshot "+schema.QuoteLiteral(snap.Name))
	for _, sql := range statements {
		if _, err := reader.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("open the snapshot of slot %s: %w", b.Source.Slot, err)
		}
	}
	if err := imported(); err != nil {
		return err
	}
	b.Status(fmt.Sprintf("backfill: counting the rows of %s", b.Source.Table))
	var count int64
	err := reader.QueryRow(ctx, "select count(*) from "+b.Source.Table.String()).Scan(&count)
	if b.Skip {
		return b.skipped(count, err)
	}
	if err != nil {
		return fmt.Errorf("count the rows of %s: %w", b.Source.Table, err)
	}
	b.Logger.Info("backfill: publishing the rows that are in the table", "table", b.Source.Table.String(), "rows", count)
	b.Rows.Add(float64(count))
	b.position = PositionOf(srv, snap)
	stop := b.report(count)
	rows, err := b.publishAll(ctx, reader, p, snap)
	stop()
	if err != nil {
		return fmt.Errorf("backfill %s after %d rows: %w", b.Source.Table, rows, err)
	}
	b.Logger.Info("backfill: all rows are acked", "rows", rows)
	return nil
}

// PositionOf returns the position of a backfill's first row, one byte before the snapshot's LSN, so that events from the slot sort behind. The
// other rows differ only in the index.
func PositionOf(srv *replication.Server, snap replication.Snapshot) schema.Position {
	return schema.Position{Timeline: srv.History.Owner(snap.LSN - 1), LSN: uint64(snap.LSN - 1)}
}

// skipped logs how many rows are not published, if the role may count them.
func (b *Backfill) skipped(count int64, err error) error {
	const text = "outbox.backfill is skip: the rows that are in the table are not published"
	switch {
	case pgerror.IsSQLState(err, "42501"): // no SELECT, or row level security
		b.Logger.Warn(text, "table", b.Source.Table.String(), "rows", "unknown: "+err.Error())
	case err != nil:
		return fmt.Errorf("count the rows of %s: %w", b.Source.Table, err)
	default:
		b.Logger.Warn(text, "table", b.Source.Table.String(), "rows", count)
	}
	return nil
}

// Handed returns how many rows were handed to the sink.
func (b *Backfill) Handed() int64 { return b.handed.Load() }

// Close closes the backfill's sink, if it has one, and gives the sink's bytes back to the budget.
func (b *Backfill) Close() {
	if b.Skip {
		return
	}
	if err := b.Sink.Close(); err != nil {
		b.Logger.Warn("close the backfill's sink", "error", err)
	}
	b.Tracker.Budget.Reset()
}

// The size of a pass: it ends after so many rows or bytes.
const (
	passRows  = 500
	passBytes = 256 << 10
)

// publishAll publishes all rows and waits until they are acked.
func (b *Backfill) publishAll(ctx context.Context, reader *postgres.DB, p *postgres.Found, snap replication.Snapshot) (rows int64, err error) {
	columns := b.Source.Mapping.Mapped(p.Table.Columns)
	plan, err := b.Source.Mapping.Plan(b.Source.Table, columns)
	if err != nil {
		return 0, err
	}
	// The rows come in text format and are streamed: the server waits if they are not read.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := reader.PgConn().ExecParams(ctx, query(&b.Source.Config, columns, p.Table.Partitioned), nil, nil, nil, nil)
	b.pass.Begin(0, schema.NoTime)
	var ev schema.Event
	for size := 0; result.NextRow(); rows++ {
		if rows > math.MaxUint32 {
			return rows, pgerror.Permanent(reason.BackfillTooLarge, errors.New("the table has more rows than a position can number"), "set outbox.backfill: skip, and publish the old rows in another way")
		}
		plan.Reset(&ev)
		width := 0
		for i, v := range result.Values() {
			width += len(v)
			if err := plan.Set(&ev, i, schema.TextFormat, v); err != nil {
				return rows, pgerror.Permanent(reason.RowUnreadable, fmt.Errorf("row %d: %w", rows, err), "correct or delete the row")
			}
		}
		ev.CommitTime = schema.NoTime
		ev.Position = b.position
		ev.Position.Index = uint32(rows)
		if err := b.publish(ctx, &ev, width); err != nil {
			return rows, err
		}
		if size += width; size >= passBytes || rows%passRows == passRows-1 {
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
	return rows, b.wait(ctx, b.Tracker.Changed, b.Tracker.Drained)
}

// publish hands one row to the sink. Before that it waits for room in the budget.
func (b *Backfill) publish(ctx context.Context, ev *schema.Event, size int) error {
	admits := func() bool { return b.Tracker.Budget.Admits(&b.pass, size) }
	if !admits() {
		b.handOver()
		if err := b.wait(ctx, b.Tracker.Budget.Freed, admits); err != nil {
			return err
		}
	}
	bytes, err := b.Sink.Publish(ev, b.pass.Add())
	if err != nil {
		return refusedRow(err)
	}
	b.pass.Hold(bytes)
	return nil
}

func (b *Backfill) handOver() {
	events, _ := b.Tracker.HandOver(&b.pass)
	b.handed.Add(int64(events))
	b.Sink.Flush(false)
	b.account()
}

// wait waits until done returns true, which it checks after each token and each ack.
func (b *Backfill) wait(ctx context.Context, token <-chan struct{}, done func() bool) error {
	defer b.account()
	for !done() {
		b.account()
		select {
		case <-token:
		case <-b.Tracker.Changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := b.refused(); err != nil {
			return err
		}
	}
	return nil
}

func (b *Backfill) refused() error {
	if r, _ := b.Tracker.Refusal(); r != nil {
		return refusedRow(r.Err)
	}
	return nil
}

func refusedRow(err error) error {
	return pgerror.Permanent(pgerror.Reason(err), fmt.Errorf("event refused: %w", err), "the backfill begins again at the next start: correct or delete the row, or set outbox.backfill: skip")
}

// query returns the query that reads the rows in the order in which they were most likely inserted: by created_at, or else by an integer
// id, and then by ctid.
func query(cfg *postgres.Config, columns []schema.TableColumn, partitioned bool) string {
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
