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

// Run makes all checks, also after one has failed. Of cfg it needs ConnString, Slot, Publication, Table and Mapping. topic is outbox.topic;
// zero: the default. backfill is outbox.backfill, as in relay.Config. park says that bad events are parked.
//
// Before it returns, it closes the connections that it has opened; one of them is for replication. It returns when all checks are made or
// ctx is done.
func Run(ctx context.Context, cfg postgres.Config, topic schema.Template, backfill string, park bool) []diagnosis.Finding {
	cfg.Logger = slog.New(slog.DiscardHandler)
	d := &diagnosing{Source: postgres.NewSource(cfg), topic: topic, onStart: backfill, park: park, list: diagnosis.List{Target: "postgres"}, oldAfter: oldTransaction}
	d.all(ctx)
	return d.list.Findings
}

// diagnosing is the state of one diagnosis.
type diagnosing struct {
	*postgres.Source
	topic    schema.Template // outbox.topic
	onStart  string          // outbox.backfill
	park     bool            // outbox.on_bad_event is park
	list     diagnosis.List
	found    postgres.Found
	state    *postgres.RelayState // nil: none
	oldAfter time.Duration        // from which age on a transaction is a warning
}

func (d *diagnosing) all(ctx context.Context) {
	db, err := d.open(ctx)
	if err != nil {
		d.fail("connection", err, "check host and port, and that the server is running; walpost run waits for it")
		return
	}
	defer func() { db.Close() }()
	d.connection(db)
	if !d.server(ctx, db) {
		return
	}
	var table, applied bool
	for _, check := range []func(){
		func() { d.senders(ctx, db) }, // before replication takes one for a moment
		func() { d.replication(ctx) },
		func() { table = d.table(ctx, db) },
		func() { applied = d.schema(ctx, db) },
		func() {
			if applied {
				d.slot(ctx, db)
			}
		},
		func() {
			if table {
				d.publication(ctx, db)
			}
		},
		func() {
			if applied {
				d.differences(ctx, db)
			}
		},
		func() {
			if applied {
				d.deadLetters(ctx, db)
			}
		},
		func() {
			if table && applied && d.begins() {
				d.backfill(ctx, db)
			}
		},
		func() { d.slots(ctx, db) },
		func() { d.retention(ctx, db) },
		func() { d.transactions(ctx, db) },
	} {
		// An error of one check may have closed the connection. The later checks must not fail because of that.
		if db.IsClosed() {
			again, err := d.open(ctx)
			if err != nil {
				d.fail("connection", fmt.Errorf("the connection ended, and further checks were not made: %w", err), unasked)
				return
			}
			db = again
		}
		check()
	}
}

// lockPatience is how long a check waits for the lock of a table that somebody else has, such as a migration. It is short enough for several
// checks of locked tables, and for the checks after them.
const lockPatience = 5 * time.Second

// open connects, and limits how long a query of the session waits for a lock.
func (d *diagnosing) open(ctx context.Context) (*postgres.DB, error) {
	db, err := d.Open(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec(ctx, fmt.Sprintf(`set lock_timeout = %d`, lockPatience.Milliseconds())); err != nil {
		db.Close()
		return nil, d.Classify(fmt.Errorf("set lock_timeout: %w", err), pgerror.Preparing)
	}
	return db, nil
}

// begins reports whether the next run makes a first start, or repeats one that did not finish.
func (d *diagnosing) begins() bool {
	return d.found.Slot == nil || d.state != nil && d.state.Phase == postgres.PhaseBackfilling
}

// fail adds the failure of a check by an error. otherwise is the cure if the error has none.
func (d *diagnosing) fail(check string, err error, otherwise string) {
	d.add(check, diagnosis.Failed, err, otherwise)
}

// add adds the finding of an error. otherwise is the cure if the error has none.
func (d *diagnosing) add(check string, level diagnosis.Level, err error, otherwise string) {
	var f *pgerror.Fault
	var w *pgerror.Wait
	switch {
	case errors.As(err, &f):
		if err = f.Err; f.Cure != "" {
			otherwise = f.Cure
		}
	case errors.As(err, &w):
		err, otherwise = w.Err, w.Cure+"; walpost run waits for it"
	}
	d.list.Add(check, level, pgerror.OneLine([]error{err}), otherwise)
}

// unasked is the cure of a query that failed.
const unasked = "run walpost doctor again; if that does not help, see the server's log"

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
	to := fmt.Sprintf("%s port %d", cfg.Host, cfg.Port)
	if pgerror.SeveralHosts(&cfg.Config) {
		to = db.Peer().Addr // the configuration does not tell which of them has answered
	}
	d.list.OK("connection", "connected to %s as %s, database %s, %s", to, cfg.User, cfg.Database, manner)
}

// server checks the server. It reports whether further checks make sense.
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
			d.list.Add("server", diagnosis.Warning, closed.Err.Error()+": walpost run goes on, and writes only its own state", closed.Cure)
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

// replication opens a replication connection, as the stream does.
func (d *diagnosing) replication(ctx context.Context) {
	const check = "replication"
	w, err := replication.Connect(ctx, d.CurrentConnString(), d.Names, d.Logger)
	if err != nil {
		d.fail(check, d.Classify(err, pgerror.Connecting), "walpost run waits for it")
		return
	}
	defer w.Close()
	s, err := w.Identify(ctx)
	switch {
	case err != nil:
		d.fail(check, d.Classify(err, pgerror.Identifying), unasked)
	case s.Timeout == 0:
		d.list.Add(check, diagnosis.Warning, fmt.Sprintf("the role %s may stream the WAL, but its wal_sender_timeout is 0: a relay that freezes keeps the slot, and no other relay can take over", d.Names.Role),
			"remove wal_sender_timeout from postgres.url; the default is 15s")
	default:
		d.list.OK(check, "the role %s may stream the WAL; if a relay freezes, Postgres disconnects it after %s, and another relay can take over", d.Names.Role, s.Timeout)
	}
}

// table checks the table. It reports whether the table exists and its columns fit.
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
			d.fail(check, one, "alter the column, or name another one in outbox.columns")
		}
	default:
		d.fail(check, d.Classify(err, pgerror.Preparing), unasked)
	}
	return false
}
