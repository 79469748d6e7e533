package tail

import (
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"

	"walpost/decoder"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
)

// open creates the temporary slot and starts streaming from it.
func (t *tail) open(ctx context.Context) error {
	found := &postgres.Found{}
	err := postgres.WithTimeout(ctx, func(ctx context.Context) error { return t.check(ctx, found) })
	if err != nil {
		return err
	}
	w, err := replication.Connect(ctx, t.CurrentConnString(), t.Names, t.Logger)
	if err != nil {
		return t.Classify(err, pgerror.Connecting)
	}
	slot, err := t.create(ctx, w)
	if err != nil {
		w.Close()
		return err
	}
	return t.begin(ctx, w, slot, found)
}

// check makes those checks of a relay's start that a tail depends on. A tail does not need schema walpost.
func (t *tail) check(ctx context.Context, found *postgres.Found) error {
	db, err := t.Source.Open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	err = t.CheckPrimary(ctx, db, found)
	if err == nil {
		err = t.CheckTable(ctx, db, found, nil)
	}
	if err == nil {
		err = t.CheckVisible(ctx, db, found)
	}
	return t.Classify(err, pgerror.Preparing)
}

// create creates the slot and returns its name. The name contains the pid, so it is unique.
func (t *tail) create(ctx context.Context, w *replication.Walsender) (slot string, err error) {
	var srv replication.Server
	err = postgres.WithTimeout(ctx, func(ctx context.Context) (err error) {
		srv, err = w.Identify(ctx)
		return err
	})
	if err != nil {
		return "", t.Classify(err, pgerror.Identifying)
	}
	t.history, t.period, t.addr = srv.History, srv.StatusPeriod(t.SilenceLimit()), w.RemoteAddr()
	t.walsender = srv.WalsenderID(w)
	slot = fmt.Sprintf("walpost_tail_%d", w.PID())
	t.Names.Slot = slot
	_, err = w.CreateSlot(ctx, slot, true, srv.Version, nil)
	return slot, t.Classify(err, pgerror.Creating)
}

// begin hands the connection over to the stream.
func (t *tail) begin(ctx context.Context, w *replication.Walsender, slot string, found *postgres.Found) (err error) {
	if t.stream, err = w.Start(ctx, slot, t.Publication, found.Binary); err != nil {
		return t.Classify(err, pgerror.Starting)
	}
	t.decoder = decoder.New(t.Table, t.Mapping)
	t.decoder.Follow(found.Table.OID, found.Places, found.At)
	t.confirmer = replication.NewConfirmer(t.stream, func() pglogrepl.LSN { return pglogrepl.LSN(t.printed.Load()) }, t.progress, t.period, func(pglogrepl.LSN) {})
	t.Logger.Info("printing what is committed from now on", "table", t.Table.String(), "publication", t.Publication, "slot", slot)
	return nil
}
