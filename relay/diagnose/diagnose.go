package diagnose

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"walpost/internal/catalog"
	"walpost/internal/diagnosis"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// Run makes all checks, whatever fails. cfg says where and what to read: ConnString, Slot, Publication, Table and Mapping. topic is what names
// the topics; zero: the default. backfill is what happens to rows at the first start, as in relay.Config.
//
// The connections that it opens, one of them for replication, are closed again within the call. It returns when all is asked or ctx ends.
func Run(ctx context.Context, cfg postgres.Config, topic schema.Template, backfill string) []diagnosis.Finding {
	cfg.Logger = slog.New(slog.DiscardHandler)
	d := &diagnosing{Source: postgres.NewSource(cfg), topic: topic, onStart: backfill, list: diagnosis.List{Target: "postgres"}, oldAfter: oldTransaction}
	d.all(ctx)
	return d.list.Findings
}

// diagnosing is one diagnosis.
type diagnosing struct {
	*postgres.Source
	topic    schema.Template // outbox.topic
	onStart  string          // outbox.backfill
	list     diagnosis.List
	found    postgres.Found
	state    *postgres.RelayState // nil: none
	oldAfter time.Duration        // how old a transaction is when it is worth a word
}

func (d *diagnosing) all(ctx context.Context) {
	db, err := d.Open(ctx)
	if err != nil {
		d.fail("connection", err, "check host and port, and that the server is up; run waits for it")
		return
	}
	defer db.Close()
	d.connection(db)
	if !d.server(ctx, db) {
		return
	}
	d.senders(ctx, db) // before one is taken for a moment
	d.replication(ctx)
	table, applied := d.table(ctx, db), d.schema(ctx, db)
	if applied {
		d.slot(ctx, db)
	}
	if table {
		d.publication(ctx, db)
	}
	if applied {
		d.differences(ctx, db)
	}
	if table && applied && d.begins() {
		d.backfill(ctx, db)
	}
	d.slots(ctx, db)
	d.retention(ctx, db)
	d.transactions(ctx, db)
}

// begins reports whether the next run makes a first start, or ends one that died.
func (d *diagnosing) begins() bool {
	return d.found.Slot == nil || d.state != nil && d.state.Phase == postgres.PhaseBackfilling
}

// fail appends the finding of an error. otherwise is the cure of one that brings none.
func (d *diagnosing) fail(check string, err error, otherwise string) {
	var f *pgerror.Fault
	var w *pgerror.Wait
	switch {
	case errors.As(err, &f):
		if err = f.Err; f.Cure != "" {
			otherwise = f.Cure
		}
	case errors.As(err, &w):
		err, otherwise = w.Err, w.Cure+"; run waits for it"
	}
	d.list.Add(check, diagnosis.Failed, pgerror.OneLine([]error{err}), otherwise)
}

// unasked is the cure of a query that came to nothing.
const unasked = "run it again, and look at the server's log if that does not help"

func (d *diagnosing) connection(db *postgres.DB) {
	cfg := db.Config()
	manner := "not encrypted"
	if c, ok := db.PgConn().Conn().(*tls.Conn); ok {
		manner = tls.VersionName(c.ConnectionState().Version)
	}
	if risk := db.UnencryptedRisk(); risk != nil {
		d.list.Add("connection", diagnosis.Warning, risk.What, risk.Cure)
		return
	}
	d.list.OK("connection", "connected to %s port %d as %s, database %s, %s", cfg.Host, cfg.Port, cfg.User, cfg.Database, manner)
}

// server checks the server. It reports whether there is any use in asking further.
func (d *diagnosing) server(ctx context.Context, db *postgres.DB) bool {
	err := d.CheckServer(ctx, db, &d.found)
	switch {
	case err == nil:
		closed, err := postgres.ReadReadOnly(ctx, db)
		switch {
		case err != nil:
			d.fail("server", d.Classify(err, pgerror.Preparing), unasked)
			return true
		case closed != nil:
			d.list.Add("server", diagnosis.Warning, closed.Err.Error()+": run goes on, and writes only its own state", closed.Cure)
			return true
		}
		d.list.OK("server", "Postgres %s, wal_level logical", db.PgConn().ParameterStatus("server_version"))
		return true
	case pgerror.IsPermanent(err):
		d.fail("server", err, "")
		return d.found.Version >= 14_00_00
	case d.found.Version != 0:
		d.fail("server", err, "") // a standby
	default:
		d.fail("server", d.Classify(err, pgerror.Preparing), unasked)
	}
	return false
}

// replication connects as the stream does.
func (d *diagnosing) replication(ctx context.Context) {
	const check = "replication"
	w, err := replication.Connect(ctx, d.CurrentConnString(), d.Names, d.Logger)
	if err != nil {
		d.fail(check, d.Classify(err, pgerror.Connecting), "run waits for it")
		return
	}
	defer w.Close()
	s, err := w.Identify(ctx)
	switch {
	case err != nil:
		d.fail(check, d.Classify(err, pgerror.Identifying), unasked)
	case s.Timeout == 0:
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("the role %s may stream the WAL, but wal_sender_timeout is 0 for it: a relay that freezes keeps the slot, and no other can take over", d.Names.Role),
			"take wal_sender_timeout out of postgres.url, so that 15s holds")
	default:
		d.list.OK(check, "the role %s may stream the WAL; a relay that freezes loses the slot after %s", d.Names.Role, s.Timeout)
	}
}

// table checks the table. It reports whether there is one to read.
func (d *diagnosing) table(ctx context.Context, db *postgres.DB) bool {
	const check = "table"
	err := d.CheckTable(ctx, db, &d.found, nil)
	var absent *catalog.TableError
	switch {
	case err == nil:
		d.list.OK(check, "table %s has the columns that outbox.columns names", d.Table)
		return true
	case errors.As(err, &absent):
		d.list.Add(check, diagnosis.Failed, fmt.Sprintf("table %s %s", absent.Table, absent.Reason), absent.Cure())
	case pgerror.IsPermanent(err):
		for _, one := range pgerror.Causes(err) {
			d.fail(check, one, "alter the column, or name another one by outbox.columns")
		}
	default:
		d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
	}
	return false
}
