package relay

import (
	"math"
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
)

// TestWatchSlot: metrics and state show the slot. A slot in danger is logged once, before Postgres invalidates it. The server makes no
// checkpoints by itself.
func TestWatchSlot(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "64MB", "max_wal_size": "2GB", "checkpoint_timeout": "1h"}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.sink.setAuto(false)
	r := f.launch()
	values := gather(t, r.registry)
	for _, name := range []string{"retained_wal_bytes", "active", "wal_status/reserved", "wal_status/extended", "wal_status/unreserved", "wal_status/lost"} {
		if v, ok := values["walpost_slot_"+name]; !ok || v != 0 {
			t.Errorf("%s = %v, %v at the start", name, v, ok)
		}
	}
	if v := values["walpost_slot_safe_wal_bytes"]; !math.IsNaN(v) {
		t.Errorf("safe_wal_bytes = %v before it was read", v)
	}
	seen := func(what string, ok func(s postgres.SlotState) bool) {
		t.Helper()
		dbtest.Until(t, what, func() bool { r.look(); return ok(r.relay.State().Slot) })
	}
	// The first check comes by itself.
	dbtest.Until(t, "a check", func() bool {
		s := r.relay.State().Slot
		return s.Active && s.WALStatus == "reserved" && s.SafeBytes > 0 && s.ConfirmedFlush != ""
	})
	f.Insert(1) // is never acked, so that the slot keeps WAL
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	grow := func() {
		f.Exec("select pg_logical_emit_message(true, '', repeat(md5(random()::text), 64*1024))")
		f.Exec("select pg_switch_wal()")
	}
	for !f.Logs.Has("Postgres will invalidate it") && !t.Failed() {
		grow()
		before := r.relay.State().Slot.Seen
		seen("a check", func(s postgres.SlotState) bool { return s.Seen.After(before) })
	}
	values = gather(t, r.registry)
	if values["walpost_slot_retained_wal_bytes"] < 32<<20 || values["walpost_slot_active"] != 1 || !(values["walpost_slot_safe_wal_bytes"] > 0) {
		t.Errorf("%v retained, active %v, %v safe", values["walpost_slot_retained_wal_bytes"], values["walpost_slot_active"], values["walpost_slot_safe_wal_bytes"])
	}
	for r.relay.State().Slot.WALStatus != "unreserved" && !t.Failed() {
		grow()
		before := r.relay.State().Slot.Seen
		seen("a check", func(s postgres.SlotState) bool { return s.Seen.After(before) })
	}
	if v := gather(t, r.registry)["walpost_slot_wal_status/unreserved"]; v != 1 {
		t.Errorf("wal_status unreserved is %v", v)
	}
	if n := f.Logs.Count("Postgres will invalidate it"); n != 1 {
		t.Errorf("logged the danger %d times", n)
	}
	if !f.Logs.Has("the next checkpoint may invalidate it") {
		t.Error("the log has nothing about the unreserved slot")
	}
	f.Exec("checkpoint")
	f.sink.setAuto(true)
	if err := r.wait(); err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "is lost") {
		t.Fatalf("ended with %v", err)
	}
}

// TestWatchStandby: a relay that stands by also shows the slot.
func TestWatchStandby(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	leader := f.start()
	second := f.launch()
	dbtest.Until(t, "the second has checked the slot while it stands by", func() bool {
		s := second.relay.State()
		return s.Role == Standby && s.Slot.Active && s.Slot.ConfirmedFlush != ""
	})
	second.stop()
	leader.stop()
}
