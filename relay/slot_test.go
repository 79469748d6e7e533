package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/internal/testenv/long"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
)

// TestSlotWithoutState: a slot that another tool has created is streamed as it is, without a backfill.
func TestSlotWithoutState(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Insert(2)
	f.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", f.cfg.Slot)
	f.Insert(1)
	r := f.start()
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
	if got, want := f.sink.ids(), f.IDs()[2:]; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

// TestStateThatMayNotBeWritten: a role that may read walpost.relay_state but not write it ends the relay. Otherwise the relay would take
// the slot and release it once a second.
func TestStateThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	role := f.reader()
	f.Exec("revoke insert, update on walpost.relay_state from " + role)
	f.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", f.cfg.Slot) // created by another tool, so that no phase is written before the relay takes it
	dbtest.WantFailed(t, f.diagnose(), "relay_state")
	cure := "GRANT SELECT, INSERT, UPDATE, DELETE ON walpost.relay_state TO " + role
	dbtest.WantPermanent(t, f.launch().wait(), "42501", "relay_state", "run: "+cure)
	f.Exec(cure)
	f.Insert(1)
	r := f.start()
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
}

// TestTwoPhaseSlot: since 15 a slot that was created with two_phase sends transactions when they are prepared, with any protocol version.
// The relay refuses it before it streams anything. The cure in the error loses nothing, not even a transaction that is prepared at this
// moment. Postgres 14 sends them when they are committed.
func TestTwoPhaseSlot(t *testing.T) {
	t.Parallel()
	for _, major := range long.Or([]int{0, 14}, []int{0, 14, 18}) {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
			f.Exec("select pg_create_logical_replication_slot($1, 'pgoutput', false, true)", f.cfg.Slot)
			prepare := func(name string) {
				f.Exec("begin")
				f.Insert(1)
				f.Exec("prepare transaction '" + f.Slot + name + "'")
			}
			prepare("1")
			f.Insert(1)
			if major != 14 {
				const cure = "SELECT pg_copy_logical_replication_slot('%s', '%[1]s_copy')"
				words := []string{"slot " + f.cfg.Slot, "two_phase", fmt.Sprintf(cure, f.cfg.Slot), "postgres.slot: " + f.cfg.Slot + "_copy"}
				dbtest.WantFailed(t, f.diagnose(), words...)
				dbtest.WantPermanent(t, f.launch().wait(), words...)
				if n := f.sink.count(); n != 0 || f.Phase() != "" {
					t.Errorf("%d events, phase %q", n, f.Phase())
				}
				f.Exec(fmt.Sprintf(cure, f.cfg.Slot))
				f.cfg.Slot += "_copy"
			}
			r := f.start()
			f.Exec("commit prepared '" + f.Slot + "1'")
			prepare("2")
			f.Exec("rollback prepared '" + f.Slot + "2'")
			prepare("3")
			f.Exec("commit prepared '" + f.Slot + "3'")
			r.await("3 events", func() bool { return f.sink.count() == 3 })
			r.stop()
			if got, want := f.sink.ids(), f.IDs(); !sameElements(got, want) {
				t.Errorf("published %q, want %q", got, want)
			}
		})
	}
}

func sameElements(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// TestAnotherServer: the relay refuses a slot on another server. After pg_upgrade, which gives the server a new identifier and keeps its
// slots since 17, the cure in the error lets the relay go on from where the slot stands.
func TestAnotherServer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.start().stop()
	f.Exec("update walpost.relay_state set system_id = '42'")
	f.Insert(1)
	err := f.launch().wait()
	dbtest.WantPermanent(t, err, "this is another server", "after pg_upgrade", "DELETE FROM walpost.relay_state")
	_, cure, _ := strings.Cut(err.Error(), "run: ")
	cure, _, _ = strings.Cut(cure, ";")
	f.Exec(cure)
	r := f.start()
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
}

// TestMissingSlotIsNeverMadeAnewSilently: a slot that the relay has streamed from is never re-created silently.
func TestMissingSlotIsNeverMadeAnewSilently(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
	f.Exec("select pg_drop_replication_slot($1)", f.cfg.Slot)
	f.Insert(1)
	err := f.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "does not exist") || !strings.Contains(err.Error(), "DELETE FROM walpost.relay_state") {
		t.Fatalf("ended with %v", err)
	}
	// The cure in the error.
	f.Exec("delete from walpost.relay_state where slot = $1", f.cfg.Slot)
	r = f.start()
	dbtest.Until(t, "both rows", func() bool { return f.sink.count() == 3 })
	r.stop()
}

// TestMovedSlotIsNeverStreamedSilently: if somebody else moves the slot forward after a clean stop, the relay refuses it.
func TestMovedSlotIsNeverStreamedSilently(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
	f.start().stop() // confirmed nothing, moved nothing
	f.Insert(1)
	f.Exec("select pg_replication_slot_advance($1, pg_current_wal_lsn())", f.cfg.Slot)
	err := f.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "somebody moved it") {
		t.Fatalf("ended with %v", err)
	}
}

// TestLostSlot: a slot that Postgres has invalidated stops the relay, and the cure in the error is complete.
func TestLostSlot(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.start().stop()
	for range 4 {
		f.Exec("create table if not exists busy (t text)")
		f.Exec("insert into busy select repeat('x', 1000) from generate_series(1, 20000)")
		f.Exec("select pg_switch_wal()")
		f.Exec("checkpoint")
	}
	err := f.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "is lost") {
		t.Fatalf("ended with %v", err)
	}
	f.Insert(1)
	for _, sql := range []string{"SELECT pg_drop_replication_slot('" + f.cfg.Slot + "')", "DELETE FROM walpost.relay_state WHERE slot = '" + f.cfg.Slot + "'"} {
		if !strings.Contains(err.Error(), sql) {
			t.Fatalf("no %q in: %v", sql, err)
		}
		f.Exec(sql)
	}
	r := f.start()
	dbtest.Until(t, "the row", func() bool { return f.sink.count() == 1 })
	r.stop()
}
