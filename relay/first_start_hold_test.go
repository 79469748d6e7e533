package relay

import (
	"testing"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
)

// TestSlotIsHeldDuringBackfill: a server that invalidates idle slots does not invalidate the slot of a running first start.
func TestSlotIsHeldDuringBackfill(t *testing.T) {
	t.Parallel() // mostly waiting
	server := pgtest.Start(t, pgtest.Options{Major: 18, Settings: map[string]string{"idle_replication_slot_timeout": "1s"}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.sink.setAuto(false)
	f.Insert(3)
	r := f.launch()
	r.await("the backfill's rows", func() bool { return f.sink.count() == 3 })
	f.Insert(2)
	// Another slot, which is idle, shows when the server has checked for idle slots.
	f.Exec("select pg_create_logical_replication_slot('idle', 'pgoutput')")
	r.await("an idle slot is invalidated", func() bool {
		f.Exec("checkpoint")
		return f.Ask("select coalesce(wal_status, '') from pg_replication_slots where slot_name = 'idle'") == "lost"
	})
	f.sink.setAuto(true)
	r.await("the relay leads", func() bool { return r.relay.State().Role == Leader })
	r.await("5 events", func() bool { return f.sink.count() >= 5 })
	r.stop()
	if n := len(f.sink.ids()); n != 5 || f.sink.distinct() != 5 {
		t.Errorf("published %d events, %d different ones, want 5", n, f.sink.distinct())
	}
	if f.Logs.Has("waiting") || f.Logs.Has("standing by") {
		t.Error("the relay logged an error between backfill and stream")
	}
}

// TestSlotGoneDuringBackfill: if somebody drops or re-creates the slot during the backfill, no gap remains. The relay stops, the phase is
// not streaming, and the cure in the error publishes everything.
func TestSlotGoneDuringBackfill(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		again bool // it is created again
		says  string
	}{
		"dropped":           {says: "was dropped during the backfill"},
		"dropped and again": {again: true, says: "dropped and re-created"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.sink.setAuto(false)
			f.Insert(3)
			r := f.launch()
			r.await("the backfill's rows", func() bool { return f.sink.count() == 3 })
			f.kill()
			f.Insert(2)
			f.Exec("select pg_drop_replication_slot($1)", f.cfg.Slot)
			if c.again {
				f.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", f.cfg.Slot)
			}
			f.sink.setAuto(true)
			dbtest.WantPermanent(t, r.wait(), c.says, "start walpost again", "Patroni")
			if got := f.Phase(); got != postgres.PhaseBackfilling {
				t.Errorf("phase %q", got)
			}
			if c.again {
				f.Exec("select pg_drop_replication_slot($1)", f.cfg.Slot)
			}
			r = f.start()
			r.await("all events", func() bool { return f.sink.distinct() == 5 })
			r.stop()
		})
	}
}
