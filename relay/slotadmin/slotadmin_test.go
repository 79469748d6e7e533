package slotadmin

import (
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
)

// TestDropForeign: a slot that does not belong to walpost is shown but not dropped.
func TestDropForeign(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	for kind, sql := range map[string]string{
		"of test_decoding": "select pg_create_logical_replication_slot($1, 'test_decoding')",
		"a physical slot":  "select pg_create_physical_replication_slot($1, true)",
	} {
		db.Exec(sql, db.Slot)
		_, err := Drop(t.Context(), db.Config())
		dbtest.WantError(t, err, kind, "pg_drop_replication_slot('"+db.Slot+"')")
		if s, err := Show(t.Context(), db.Config()); err != nil || s.RestartLSN == "" {
			t.Errorf("show one: %s: %v, %+v", kind, err, s)
		}
		db.Exec("select pg_drop_replication_slot($1)", db.Slot)
	}
	other := dbtest.New(t)
	db.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", db.Slot)
	cfg := other.Config()
	cfg.Slot = db.Slot
	_, err := Drop(t.Context(), cfg)
	dbtest.WantError(t, err, "belongs to database")
}

// TestCreateRefused: the slot is not created if a relay could not stream from it.
func TestCreateRefused(t *testing.T) {
	t.Parallel()
	role := dbtest.New(t).Role("plain", "login")
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
			db := dbtest.New(t)
			if c.change == nil {
				c.change = func(*postgres.Config) {}
			}
			if c.prepare != "" {
				for sql := range strings.SplitSeq(c.prepare, "; ") {
					db.Exec(sql)
				}
			}
			cfg := db.Config()
			c.change(&cfg)
			_, err := Create(t.Context(), cfg)
			dbtest.WantError(t, err, c.want...)
			if db.Slots() != 0 {
				t.Error("a slot was created")
			}
		})
	}
}

// TestShowSafeWALSize: if Postgres limits the WAL of slots, the slot shows how much may still be written.
func TestShowSafeWALSize(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "1GB"}})
	db := dbtest.On(t, server.DSN("postgres"))
	db.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", db.Slot)
	if s, err := Show(t.Context(), db.Config()); err != nil || s.SafeWALSize == nil || *s.SafeWALSize < 512<<20 {
		t.Errorf("with a limit: %+v, %v", s, err)
	}
}
