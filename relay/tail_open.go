package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/decoder"
	"walpost/schema"
)

// open makes the temporary slot and begins to stream from it.
func (t *tail) open(ctx context.Context) error {
	found := &ready{}
	err := inTime(ctx, func(ctx context.Context) error { return t.check(ctx, found) })
	if err != nil {
		return err
	}
	w, err := dialWalsender(ctx, t.cfg.connString(), t.names, t.log)
	if err != nil {
		return t.judge(err, connecting)
	}
	slot, err := t.create(ctx, w)
	if err != nil {
		w.close()
		return err
	}
	return t.begin(ctx, w, slot, found)
}

// verbLimit bounds what a verb asks of the server that takes milliseconds. A frozen server, or a way to it that swallows everything, keeps a
// connection open and never answers.
const verbLimit = 30 * time.Second

// inTime does what takes milliseconds.
func inTime(ctx context.Context, do func(context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, verbLimit, fmt.Errorf("the server has not answered for %v", verbLimit))
	defer cancel()
	err := do(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return context.Cause(limited)
	}
	return err
}

// check makes those of the relay's checks that a tail depends on. Schema walpost is none of its business.
func (t *tail) check(ctx context.Context, found *ready) error {
	db, err := t.openDatabase(ctx)
	if err != nil {
		return err
	}
	defer db.close()
	err = t.checkPrimary(ctx, db)
	if err == nil {
		err = t.checkServer(ctx, db, found)
	}
	if err == nil {
		err = t.checkTable(ctx, db, found, nil)
	}
	if err == nil {
		err = t.checkVisible(ctx, db, found)
	}
	return t.judge(err, preparing)
}

// checkPrimary refuses a standby, whose promotion only a relay waits for.
func (r *Relay) checkPrimary(ctx context.Context, db *database) error {
	var standby bool
	if err := db.QueryRow(ctx, "select pg_catalog.pg_is_in_recovery()").Scan(&standby); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if standby {
		return permanent(errors.New("the server is a standby"), "connect to its primary")
	}
	return nil
}

// checkVisible checks that every row of the table goes through the publication, which is not made here.
func (r *Relay) checkVisible(ctx context.Context, db *database, found *ready) error {
	pub, err := r.readPublication(ctx, db, found.table.OID)
	switch {
	case err != nil:
		return err
	case pub == nil:
		return permanent(fmt.Errorf("publication %s does not exist", schema.QuoteIdent(r.cfg.Publication)),
			"run as the owner of %s: %s", r.cfg.Table, schema.PublicationSQL(schema.Options{Table: r.cfg.Table, Publication: r.cfg.Publication}))
	}
	return pub.check(r, found.table.Partitioned)
}

// warnOfWaiting says what the creation of a slot waits for, unless it is stopped before that is worth a line.
func (r *Relay) warnOfWaiting() *time.Timer {
	return time.AfterFunc(3*time.Second, func() {
		r.log.Warn("creating the slot waits for the end of all transactions that are writing, in any database of the cluster",
			"see", "SELECT pid, datname, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start")
	})
}

// create makes the slot and returns its name, which no other connection's has.
func (t *tail) create(ctx context.Context, w *walsender) (slot string, err error) {
	var srv server
	err = inTime(ctx, func(ctx context.Context) (err error) {
		srv, err = w.identify(ctx)
		return err
	})
	if err != nil {
		return "", t.judge(err, preparing)
	}
	t.history, t.period, t.addr = srv.history, srv.statusPeriod(), w.conn.Conn().RemoteAddr()
	slot = fmt.Sprintf("walpost_tail_%d", w.conn.PID())
	t.names.slot = slot
	defer t.warnOfWaiting().Stop()
	_, err = w.create(ctx, slot, true, srv.version)
	return slot, t.judge(err, creating)
}

// begin hands the connection over to the stream.
func (t *tail) begin(ctx context.Context, w *walsender, slot string, found *ready) (err error) {
	if t.stream, err = w.start(ctx, slot, t.cfg.Publication, found.binary); err != nil {
		return t.judge(err, starting)
	}
	t.decoder = decoder.New(t.cfg.Table, t.cfg.Mapping)
	t.decoder.Follow(found.table.OID, found.places, found.at)
	t.confirmer = newConfirmer(t.stream, func() pglogrepl.LSN { return pglogrepl.LSN(t.printed.Load()) }, t.progress, t.period, func(pglogrepl.LSN) {})
	t.log.Info("printing what is committed from now on", "table", t.cfg.Table.String(), "publication", t.cfg.Publication, "slot", slot)
	return nil
}
