package relay

import (
	"net/url"
	"strings"
	"testing"

	"walpost/relay/internal/dbtest"
	"walpost/schema"
)

// TestPreflight: a fault that only a person can cure ends the relay before it has created anything, with the object, the cause and the
// cure.
func TestPreflight(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*fixture)
		want    []string
	}{
		"no schema walpost": {
			func(f *fixture) { f.Exec("drop schema walpost cascade") },
			[]string{"schema walpost does not exist in this database", "walpost schema apply"},
		},
		"older schema": {
			func(f *fixture) {
				f.Exec("create or replace function walpost.schema_version() returns int language sql as 'select 0'")
			},
			[]string{"schema walpost has version 0", "walpost schema apply"},
		},
		"schema without a column": {
			func(f *fixture) { f.Exec("alter table walpost.relay_state drop column confirmed_commit_time") },
			[]string{"confirmed_commit_time", "42703", "run: walpost schema check"},
		},
		"no such table": {
			func(f *fixture) { f.cfg.Table = schema.Table{Schema: "public", Name: "events"} },
			[]string{"public.events", "does not exist"},
		},
		"unsuitable column": {
			func(f *fixture) {
				f.Exec("alter table walpost.outbox drop constraint walpost_aggregatetype, alter aggregatetype type bytea using ''")
			},
			[]string{"walpost.outbox", "aggregatetype", "bytea"},
		},
		"publication without the table": {
			func(f *fixture) { f.Exec("alter publication walpost drop table walpost.outbox") },
			[]string{"publication walpost", "ALTER PUBLICATION walpost ADD TABLE walpost.outbox"},
		},
		"no right to read": {
			func(f *fixture) {
				f.reader()
			},
			[]string{"may not read walpost.outbox", "GRANT SELECT ON walpost.outbox TO"},
		},
		"row level security": {
			func(f *fixture) {
				f.Exec("grant select on walpost.outbox to " + f.reader())
				f.Exec("alter table walpost.outbox enable row level security")
				f.Insert(3)
			},
			[]string{"row level security of walpost.outbox applies to the role", "_reader BYPASSRLS", "ALTER TABLE walpost.outbox DISABLE ROW LEVEL SECURITY", "outbox.backfill: skip"},
		},
		"publication with a row filter": {
			func(f *fixture) {
				f.Exec("drop publication walpost")
				f.Exec("create publication walpost for table walpost.outbox where (aggregatetype = 'order') with (publish = 'insert')")
			},
			[]string{"row filter", "BEGIN; ALTER PUBLICATION walpost DROP TABLE walpost.outbox; ALTER PUBLICATION walpost ADD TABLE walpost.outbox; COMMIT"},
		},
		"publication with a column list": { // the decoder could read a row without these columns, and would not miss them
			func(f *fixture) {
				f.Exec("alter publication walpost set table walpost.outbox (id, aggregatetype, aggregateid, type, payload)")
			},
			[]string{"publication walpost has a column list on table walpost.outbox without headers, created_at, which outbox.columns maps",
				"BEGIN; ALTER PUBLICATION walpost DROP TABLE walpost.outbox; ALTER PUBLICATION walpost ADD TABLE walpost.outbox; COMMIT"},
		},
		"partitioned table with a column list": {
			func(f *fixture) {
				f.Exec("create table public.parts (like walpost.outbox) partition by list (type)")
				f.Exec("create table public.part partition of public.parts default")
				f.Exec("create publication parts for table public.parts (id, aggregatetype, type) with (publish = 'insert', publish_via_partition_root = true)")
				f.cfg.Table, f.cfg.Publication = schema.Table{Schema: "public", Name: "parts"}, "parts"
			},
			[]string{"column list on table public.parts without aggregateid, payload, headers, created_at"},
		},
		"slot with a column list": {
			func(f *fixture) {
				f.Exec("alter publication walpost set table walpost.outbox (id, aggregatetype, type)")
				f.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", f.cfg.Slot)
			},
			[]string{"without aggregateid, payload, headers, created_at", "in the slot without these columns, and complete only in the table"},
		},
		"publication without inserts": {
			func(f *fixture) { f.Exec("alter publication walpost set (publish = 'update')") },
			[]string{"publication walpost", "SET (publish = 'insert')"},
		},
		"partitioned table without its root": {
			func(f *fixture) {
				f.Exec("create table public.parts (like walpost.outbox) partition by list (type)")
				f.Exec("create table public.part partition of public.parts default")
				f.Exec("create publication parts for table public.parts with (publish = 'insert')")
				f.cfg.Table, f.cfg.Publication = schema.Table{Schema: "public", Name: "parts"}, "parts"
			},
			[]string{"publication parts", "public.parts", "publish_via_partition_root = true"},
		},
		"slot of another plugin": {
			func(f *fixture) {
				f.Exec("select pg_create_logical_replication_slot($1, 'test_decoding')", f.cfg.Slot)
			},
			[]string{"test_decoding", "not pgoutput"},
		},
		"physical slot": {
			func(f *fixture) { f.Exec("select pg_create_physical_replication_slot($1)", f.cfg.Slot) },
			[]string{"physical", "not a logical slot of pgoutput"},
		},
		"slot without its publication": {
			func(f *fixture) {
				f.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", f.cfg.Slot)
				f.Exec("drop publication walpost")
			},
			[]string{"publication walpost does not exist", "create publication walpost"},
		},
		"impossible slot name": {
			func(f *fixture) { f.cfg.Slot = "Not-A-Slot" },
			[]string{"Not-A-Slot", "lower-case"},
		},
		"no such database": {
			func(f *fixture) {
				u, err := url.Parse(f.DSN)
				if err != nil {
					f.T.Fatal(err)
				}
				u.Path = "/absent"
				f.cfg.ConnString = u.String()
			},
			[]string{"database", "create the database"},
		},
		"unusable connection string": {
			func(f *fixture) { f.cfg.ConnString = "host=127.0.0.1 sslmode=perhaps" },
			[]string{"connection string", "sslmode"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			c.prepare(f)
			dbtest.WantFailed(t, f.diagnose(), c.want...)
			err := f.launch().wait()
			dbtest.WantPermanent(t, err, c.want...)
			if f.sink.opened > 0 {
				t.Error("a sink was opened")
			}
		})
	}
}

// TestColumnListThatFits: a column list that has all mapped columns is no fault.
func TestColumnListThatFits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Exec("alter table walpost.outbox add note text")
	f.Exec("alter publication walpost set table walpost.outbox (id, aggregatetype, aggregateid, type, payload, headers, created_at)")
	dbtest.WantHealthy(t, f.diagnose(), "max_slot_wal_keep_size")
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	// A list that no longer fits is noticed, and the cure in the error works.
	f.Exec("alter publication walpost set table walpost.outbox (id, aggregatetype, aggregateid, type, payload, note)")
	r.look()
	err := r.wait()
	dbtest.WantPermanent(t, err, "without headers, created_at", "in the slot without these columns, and complete only in the table: insert them again, for example: WITH gone")
	_, sql, _ := strings.Cut(err.Error(), "run: ")
	for _, one := range strings.SplitN(sql, "; ", 5)[:4] {
		f.Exec(one)
	}
	dbtest.WantHealthy(t, f.diagnose(), "max_slot_wal_keep_size")
	f.start().stop()
}
