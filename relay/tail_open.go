package relay

import (
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"

	"walpost/decoder"
	"walpost/relay/pgerror"
)

// open makes the temporary slot and begins to stream from it.
func (t *tail) open(ctx context.Context) error {
	found := &ready{}
	err := inTime(ctx, func(ctx context.Context) error { return t.check(ctx, found) })
	if err != nil {
		return err
	}
	w, err := dialWalsender(ctx, t.connString(), t.names, t.Logger)
	if err != nil {
		return t.classify(err, pgerror.Connecting)
	}
	slot, err := t.create(ctx, w)
	if err != nil {
		w.close()
		return err
	}
	return t.begin(ctx, w, slot, found)
}

// check makes those of the relay's checks that a tail depends on. Schema walpost is none of its business.
func (t *tail) check(ctx context.Context, found *ready) error {
	db, err := t.source.open(ctx)
	if err != nil {
		return err
	}
	defer db.close()
	err = t.checkPrimary(ctx, db, found)
	if err == nil {
		err = t.checkTable(ctx, db, found, nil)
	}
	if err == nil {
		err = t.checkVisible(ctx, db, found)
	}
	return t.classify(err, pgerror.Preparing)
}

// create makes the slot and returns its name, which no other connection's has.
func (t *tail) create(ctx context.Context, w *walsender) (slot string, err error) {
	var srv server
	err = inTime(ctx, func(ctx context.Context) (err error) {
		srv, err = w.identify(ctx)
		return err
	})
	if err != nil {
		return "", t.classify(err, pgerror.Preparing)
	}
	t.history, t.period, t.addr = srv.history, srv.statusPeriod(), w.conn.Conn().RemoteAddr()
	slot = fmt.Sprintf("walpost_tail_%d", w.conn.PID())
	t.names.Slot = slot
	defer warnOfWaiting(t.Logger, nil).Stop()
	_, err = w.create(ctx, slot, true, srv.version)
	return slot, t.classify(err, pgerror.Creating)
}

// begin hands the connection over to the stream.
func (t *tail) begin(ctx context.Context, w *walsender, slot string, found *ready) (err error) {
	if t.stream, err = w.start(ctx, slot, t.Publication, found.binary); err != nil {
		return t.classify(err, pgerror.Starting)
	}
	t.decoder = decoder.New(t.Table, t.Mapping)
	t.decoder.Follow(found.table.OID, found.places, found.at)
	t.confirmer = newConfirmer(t.stream, func() pglogrepl.LSN { return pglogrepl.LSN(t.printed.Load()) }, t.progress, t.period, func(pglogrepl.LSN) {})
	t.Logger.Info("printing what is committed from now on", "table", t.Table.String(), "publication", t.Publication, "slot", slot)
	return nil
}
