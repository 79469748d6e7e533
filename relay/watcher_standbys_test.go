package relay

import (
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/internal/reason"
	"walpost/relay/diagnose"
	"walpost/relay/internal/dbtest"
	"walpost/schema"
)

// TestStandbySlotAway: a standby's slot that is named in synchronized_standby_slots, and that no standby uses, holds back the events of a
// slot that fails over. The state and the log say so until the setting is cured, and doctor too. Then the events come.
func TestStandbySlotAway(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Major: pgtest.NewestMajor, Settings: map[string]string{"synchronized_standby_slots": `standby1, "standby2"`}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.Exec("select pg_create_logical_replication_slot($1, 'pgoutput', false, false, true)", f.cfg.Slot)
	r := f.start()
	f.Insert(1)
	r.await("the reason", func() bool { r.look(); return r.relay.State().Code == reason.StandbySlotAway })
	if s := r.relay.State(); s.Role != Leader || !strings.Contains(s.Reason, "standby1, standby2 of") || !strings.Contains(s.Reason, "SELECT pg_reload_conf()") {
		t.Errorf("%s: %s", s.Role, s.Reason)
	}
	if n := f.sink.count(); n != 0 {
		t.Errorf("%d events came", n)
	}
	dbtest.WantFailed(t, diagnose.Run(t.Context(), f.cfg.Config, schema.Template{}, "", false), "no standby uses standby1, standby2 of", "start the standby")
	r.look()
	f.Exec("alter system set synchronized_standby_slots = ''")
	f.Exec("select pg_reload_conf()")
	r.await("1 event", func() bool { return f.sink.count() == 1 })
	r.await("no reason", func() bool { r.look(); return r.relay.State().Code == "" })
	r.await("the log", func() bool { return f.Logs.Has("no longer waits for a standby") })
	if n := f.Logs.Count("reason=standby_slot_away"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	r.stop()
}
