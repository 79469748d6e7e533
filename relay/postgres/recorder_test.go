package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
)

// TestRecorder: a confirmation is written once, and an idle relay writes nothing.
func TestRecorder(t *testing.T) {
	db := dbtest.New(t)
	db.Exec("insert into walpost.relay_state (slot, phase, clean_stop) values ($1, 'streaming', true)", db.Slot)
	db.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", db.Slot)
	var lsn string
	var at *time.Time
	var clean bool
	read := func() (written time.Time) {
		t.Helper()
		if err := db.Conn.QueryRow(t.Context(), "select coalesce(confirmed_lsn::text, ''), confirmed_commit_time, clean_stop, updated_at from walpost.relay_state where slot = $1", db.Slot).
			Scan(&lsn, &at, &clean, &written); err != nil {
			t.Fatal(err)
		}
		return written
	}
	rec := postgres.NewRecorder(db.Slot, func(ctx context.Context) (*postgres.DB, error) { return postgres.Connect(ctx, db.DSN) })

	// A relay that stops and has confirmed nothing records where it found the slot.
	if err := rec.Record(t.Context(), 0, 0, true); err != nil {
		t.Fatal(err)
	}
	if read(); lsn != db.Confirmed().String() || at != nil || !clean {
		t.Errorf("after a clean stop: confirmed %s at %v, clean %v; the slot stands at %v", lsn, at, clean, db.Confirmed())
	}
	now := time.Now().UnixMicro()
	for i, commit := range []int64{now - 1, now} {
		if err := rec.Record(t.Context(), pglogrepl.LSN(0x7000_0000+i), commit, false); err != nil {
			t.Fatal(err)
		}
	}
	first := read()
	if lsn != "0/70000001" || at == nil || at.UnixMicro() != now || clean {
		t.Errorf("confirmed %s at %v, clean %v", lsn, at, clean)
	}
	for _, commit := range []int64{now, 0} {
		if err := rec.Record(t.Context(), 0x7000_0002, commit, false); err != nil {
			t.Fatal(err)
		}
	}
	if again := read(); again != first {
		t.Error("an idle relay wrote its state")
	}
}
