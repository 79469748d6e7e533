package relay

import (
	"fmt"
	"strings"
	"testing"

	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
	"walpost/relay/slotadmin"
)

// TestSlotLife: a slot that was made by hand is streamed without a backfill; it is not dropped while it is in use, and not made again as if
// nothing was lost.
func TestSlotLife(t *testing.T) {
	f := newFixture(t)
	_, err := slotadmin.Show(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, f.cfg.Slot, "does not exist", "no relay has begun")
	_, err = slotadmin.Drop(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "does not exist")

	f.Insert(5)
	s, err := slotadmin.Create(t.Context(), f.cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	if s.Plugin != "pgoutput" || s.Active || s.WALStatus != "reserved" || s.Recorded != nil || s.ConfirmedFlushLSN == "" || f.Phase() != "" || s.SafeWALSize != nil {
		t.Errorf("created %+v", s)
	}
	_, err = slotadmin.Create(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "there already")
	r := f.start()
	f.Insert(2)
	dbtest.Until(t, "2 events", func() bool { return f.sink.count() >= 2 })
	dbtest.Until(t, "the confirmation", func() bool { return f.Confirmed() > f.commitOf(1) })
	if got, want := f.sink.ids(), f.IDs()[5:]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("published %q, want %q", got, want)
	}
	s, err = slotadmin.Show(t.Context(), f.cfg.Config)
	if err != nil || !s.Active || s.PID == 0 || s.Recorded == nil || s.Recorded.Phase != postgres.PhaseStreaming || !strings.Contains(s.Holder(), "streams to walpost at 127.0.0.1") {
		t.Errorf("%v, %+v", err, s)
	}
	_, err = slotadmin.Drop(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "is in use", fmt.Sprintf("server process %d", s.PID), "stop that first")
	r.stop()

	s, err = slotadmin.Show(t.Context(), f.cfg.Config)
	if err != nil || s.Active || !s.Recorded.CleanStop || s.Recorded.CommitTime == nil || s.Recorded.Confirmed == "" {
		t.Errorf("%v, %+v", err, s)
	}
	if s, err = slotadmin.Drop(t.Context(), f.cfg.Config); err != nil || s.Recorded == nil || s.ConfirmedFlushLSN == "" || f.Slots() != 0 {
		t.Fatalf("drop: %v, %+v", err, s)
	}
	if f.Phase() != postgres.PhaseStreaming {
		t.Errorf("what was recorded became %q", f.Phase())
	}
	_, err = slotadmin.Show(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "walpost has streamed from it", "committed 2")
	_, err = slotadmin.Create(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "walpost has streamed from it", "DELETE FROM walpost.relay_state")
	dbtest.WantError(t, f.launch().wait(), "does not exist, but walpost has streamed from it")
	f.Exec("update walpost.relay_state set phase = 'backfilling'")
	_, err = slotadmin.Create(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "did not end", "DELETE FROM walpost.relay_state")
	if f.Slots() != 0 {
		t.Error("a slot was made")
	}
}

// TestSlotBackfill: while a first start is at work, which does not hold its slot, nobody else touches that.
func TestSlotBackfill(t *testing.T) {
	f := newFixture(t)
	f.Insert(3)
	f.sink.setAuto(false)
	r := f.launch()
	dbtest.Until(t, "the backfill", func() bool { return f.sink.count() == 3 })
	_, err := slotadmin.Drop(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "first start")
	_, err = slotadmin.Create(t.Context(), f.cfg.Config)
	dbtest.WantError(t, err, "first start")
	f.sink.ack(3)
	dbtest.Until(t, "the relay leads", func() bool { return r.relay.State().Role == Leader })
	r.stop()
}

// TestSlotForeign: what is not walpost's is not dropped, and nothing is made where a relay could not stream.
func TestSlotForeign(t *testing.T) {
	f := newFixture(t)
	remove := func() { f.Exec("select pg_drop_replication_slot($1)", f.cfg.Slot) }
	for kind, sql := range map[string]string{
		"of test_decoding": "select pg_create_logical_replication_slot($1, 'test_decoding')",
		"is physical":      "select pg_create_physical_replication_slot($1, true)",
	} {
		f.Exec(sql, f.cfg.Slot)
		_, err := slotadmin.Drop(t.Context(), f.cfg.Config)
		dbtest.WantError(t, err, kind, "pg_drop_replication_slot('"+f.cfg.Slot+"')")
		if s, err := slotadmin.Show(t.Context(), f.cfg.Config); err != nil || s.RestartLSN == "" {
			t.Errorf("show one: %s: %v, %+v", kind, err, s)
		}
		remove()
	}
	other := newFixture(t)
	f.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", f.cfg.Slot)
	other.cfg.Slot = f.cfg.Slot
	_, err := slotadmin.Drop(t.Context(), other.cfg.Config)
	dbtest.WantError(t, err, "is of database")
	remove()

	role := f.Role("plain", "login")
	for what, c := range map[string]struct {
		prepare string
		change  func(*postgres.Config)
		want    []string
	}{
		"an impossible name": {change: func(c *postgres.Config) { c.Slot = "Not-A-Slot" }, want: []string{"Not-A-Slot", "lower-case"}},
		"no table":           {change: func(c *postgres.Config) { c.Table.Name = "absent" }, want: []string{"walpost.absent"}},
		"no publication": {change: func(c *postgres.Config) { c.Publication = "absent" },
			want: []string{"publication absent does not exist", "create publication absent for table walpost.outbox"}},
		"a column list": {prepare: "alter publication walpost set table walpost.outbox (id, aggregatetype, aggregateid, type, payload, created_at)",
			want: []string{"column list on table walpost.outbox without headers", "ALTER PUBLICATION walpost ADD TABLE walpost.outbox"}},
		"no grants": {change: func(c *postgres.Config) { c.ConnString = strings.Replace(c.ConnString, "postgres@", role+"@", 1) }, want: []string{"schema print", "--relay-role " + role}},
		"no REPLICATION": {change: func(c *postgres.Config) { c.ConnString = strings.Replace(c.ConnString, "postgres@", role+"@", 1) },
			prepare: "grant usage on schema walpost to " + role + "; grant select on walpost.relay_state to " + role, want: []string{"ALTER ROLE " + role + " REPLICATION"}},
		"no schema": {prepare: "drop schema walpost cascade", want: []string{"schema walpost", "walpost schema apply"}},
	} {
		t.Run(what, func(t *testing.T) {
			g := newFixture(t)
			if c.change == nil {
				c.change = func(*postgres.Config) {}
			}
			if c.prepare != "" {
				for sql := range strings.SplitSeq(c.prepare, "; ") {
					g.Exec(sql)
				}
			}
			cfg := g.cfg.Config
			c.change(&cfg)
			_, err := slotadmin.Create(t.Context(), cfg)
			dbtest.WantError(t, err, c.want...)
			if g.Slots() != 0 {
				t.Error("a slot was made")
			}
		})
	}
}
