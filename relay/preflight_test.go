package relay

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// TestPreflight: what only a person can cure ends the relay before it has made anything, with the object, the cause and the cure.
func TestPreflight(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*fixture)
		want    []string
	}{
		"no schema walpost": {
			func(f *fixture) { f.exec("drop schema walpost cascade") },
			[]string{"schema walpost is not in this database", "walpost schema apply"},
		},
		"older schema": {
			func(f *fixture) {
				f.exec("create or replace function walpost.schema_version() returns int language sql as 'select 0'")
			},
			[]string{"schema walpost is of version 0", "walpost schema apply"},
		},
		"schema without a column": {
			func(f *fixture) { f.exec("alter table walpost.relay_state drop column confirmed_commit_time") },
			[]string{"confirmed_commit_time", "42703", "run: walpost schema check"},
		},
		"role that may not write": {
			func(f *fixture) { f.exec("alter role " + f.reader() + " set default_transaction_read_only = on") },
			[]string{"may not write: default_transaction_read_only is on", "run: ALTER ROLE", "_reader RESET default_transaction_read_only"},
		},
		"role that may not write in the database": {
			func(f *fixture) {
				f.exec("alter role " + f.reader() + " in database " + f.conn.Config().Database + " set default_transaction_read_only = on")
			},
			[]string{"run: ALTER ROLE", "_reader IN DATABASE ", " RESET default_transaction_read_only"},
		},
		"connection string that may not write": {
			func(f *fixture) { f.cfg.ConnString += "&default_transaction_read_only=on" },
			[]string{"take default_transaction_read_only out of the connection string"},
		},
		"no such table": {
			func(f *fixture) { f.cfg.Table = schema.Table{Schema: "public", Name: "events"} },
			[]string{"public.events", "does not exist"},
		},
		"unsuitable column": {
			func(f *fixture) { f.exec("alter table walpost.outbox alter aggregatetype type bytea using ''") },
			[]string{"walpost.outbox", "aggregatetype", "bytea"},
		},
		"publication without the table": {
			func(f *fixture) { f.exec("alter publication walpost drop table walpost.outbox") },
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
				f.exec("grant select on walpost.outbox to " + f.reader())
				f.exec("alter table walpost.outbox enable row level security")
				f.insert(3)
			},
			[]string{"row level security of walpost.outbox applies to the role", "_reader BYPASSRLS", "ALTER TABLE walpost.outbox DISABLE ROW LEVEL SECURITY", "outbox.backfill: skip"},
		},
		"publication with a row filter": {
			func(f *fixture) {
				f.exec("drop publication walpost")
				f.exec("create publication walpost for table walpost.outbox where (aggregatetype = 'order') with (publish = 'insert')")
			},
			[]string{"row filter", "BEGIN; ALTER PUBLICATION walpost DROP TABLE walpost.outbox; ALTER PUBLICATION walpost ADD TABLE walpost.outbox; COMMIT"},
		},
		"publication with a column list": { // none of them is needed to read a row, so none would be missed
			func(f *fixture) {
				f.exec("alter publication walpost set table walpost.outbox (id, aggregatetype, aggregateid, type, payload)")
			},
			[]string{"publication walpost has a column list on table walpost.outbox without headers, created_at, which outbox.columns maps",
				"BEGIN; ALTER PUBLICATION walpost DROP TABLE walpost.outbox; ALTER PUBLICATION walpost ADD TABLE walpost.outbox; COMMIT"},
		},
		"partitioned table with a column list": {
			func(f *fixture) {
				f.exec("create table public.parts (like walpost.outbox) partition by list (type)")
				f.exec("create table public.part partition of public.parts default")
				f.exec("create publication parts for table public.parts (id, aggregatetype, type) with (publish = 'insert', publish_via_partition_root = true)")
				f.cfg.Table, f.cfg.Publication = schema.Table{Schema: "public", Name: "parts"}, "parts"
			},
			[]string{"column list on table public.parts without aggregateid, payload, headers, created_at"},
		},
		"slot with a column list": {
			func(f *fixture) {
				f.exec("alter publication walpost set table walpost.outbox (id, aggregatetype, type)")
				f.exec("select pg_create_logical_replication_slot($1, 'pgoutput')", f.cfg.Slot)
			},
			[]string{"without aggregateid, payload, headers, created_at", "in the slot without these columns, and whole only in the table"},
		},
		"publication without inserts": {
			func(f *fixture) { f.exec("alter publication walpost set (publish = 'update')") },
			[]string{"publication walpost", "SET (publish = 'insert')"},
		},
		"partitioned table without its root": {
			func(f *fixture) {
				f.exec("create table public.parts (like walpost.outbox) partition by list (type)")
				f.exec("create table public.part partition of public.parts default")
				f.exec("create publication parts for table public.parts with (publish = 'insert')")
				f.cfg.Table, f.cfg.Publication = schema.Table{Schema: "public", Name: "parts"}, "parts"
			},
			[]string{"publication parts", "public.parts", "publish_via_partition_root = true"},
		},
		"slot of another plugin": {
			func(f *fixture) {
				f.exec("select pg_create_logical_replication_slot($1, 'test_decoding')", f.cfg.Slot)
			},
			[]string{"test_decoding", "not of pgoutput"},
		},
		"physical slot": {
			func(f *fixture) { f.exec("select pg_create_physical_replication_slot($1)", f.cfg.Slot) },
			[]string{"physical", "not of pgoutput"},
		},
		"slot without its publication": {
			func(f *fixture) {
				f.exec("select pg_create_logical_replication_slot($1, 'pgoutput')", f.cfg.Slot)
				f.exec("drop publication walpost")
			},
			[]string{"publication walpost does not exist", "create publication walpost"},
		},
		"impossible slot name": {
			func(f *fixture) { f.cfg.Slot = "Not-A-Slot" },
			[]string{"Not-A-Slot", "lower-case"},
		},
		"no such database": {
			func(f *fixture) {
				u, err := url.Parse(f.dsn)
				if err != nil {
					f.t.Fatal(err)
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
			f.diagnosed(f.diagnose(), c.want)
			err := f.launch().wait()
			wantPermanent(t, err, c.want)
			if f.sink.opened > 0 {
				t.Error("a sink was opened")
			}
		})
	}
}

// TestColumnListThatFits: a list that has the mapped columns is no fault, whatever else it leaves out.
func TestColumnListThatFits(t *testing.T) {
	f := newFixture(t)
	f.exec("alter table walpost.outbox add note text")
	f.exec("alter publication walpost set table walpost.outbox (id, aggregatetype, aggregateid, type, payload, headers, created_at)")
	f.healthy(f.diagnose(), "max_slot_wal_keep_size")
	r := f.start()
	f.insert(1)
	until(t, "1 event", func() bool { return f.sink.count() == 1 })
	// One that no longer fits is noticed, and the cure is as good as it says.
	f.exec("alter publication walpost set table walpost.outbox (id, aggregatetype, aggregateid, type, payload, note)")
	r.look()
	err := r.wait()
	wantPermanent(t, err, []string{"without headers, created_at", "in the slot without these columns, and whole only in the table: insert them again, such as by WITH gone"})
	_, sql, _ := strings.Cut(err.Error(), "run: ")
	for _, one := range strings.SplitN(sql, "; ", 5)[:4] {
		f.exec(one)
	}
	f.healthy(f.diagnose(), "max_slot_wal_keep_size")
	f.start().stop()
}

// reader makes a role that may stream and keep state and not read the outbox, and returns its name. The relay logs in as it from now on.
func (f *fixture) reader() string {
	f.t.Helper()
	role := f.cfg.Slot + "_reader"
	f.exec("create role " + role + " login replication")
	f.t.Cleanup(func() { // the test's own context is done by then
		f.conn.Exec(context.Background(), "drop owned by "+role)
		f.conn.Exec(context.Background(), "drop role "+role)
	})
	f.exec("grant usage on schema walpost to " + role)
	f.exec("grant select, insert, update on walpost.relay_state to " + role)
	f.cfg.ConnString = strings.Replace(f.dsn, "postgres@", role+"@", 1)
	return role
}

// TestPublicationMade: a first start makes the publication where the role may, also for a partitioned table, and else says how.
func TestPublicationMade(t *testing.T) {
	f := newFixture(t)
	f.exec("drop publication walpost")
	f.exec("create table public.parts (like walpost.outbox including defaults) partition by list (type)")
	f.exec("create table public.part partition of public.parts default")
	f.cfg.Table = schema.Table{Schema: "public", Name: "parts"}
	r := f.start()
	f.exec(`insert into public.parts (aggregatetype, aggregateid, type, payload) values ('order', '1', 'placed', '{}')`)
	until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()

	server := pgtest.Start(t, pgtest.Options{})
	poor := fixtureOn(t, server.DSN("postgres"))
	poor.exec("drop publication walpost")
	poor.exec("create role relay login replication")
	if err := grantRelay(t.Context(), poor); err != nil {
		t.Fatal(err)
	}
	poor.cfg.ConnString = strings.Replace(poor.dsn, "postgres@", "relay@", 1)
	err := poor.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "create publication walpost for table walpost.outbox") {
		t.Fatalf("ended with %v", err)
	}
	var slots int
	poor.conn.QueryRow(t.Context(), "select count(*) from pg_replication_slots").Scan(&slots)
	if slots != 0 {
		t.Error("a slot was made although there is no publication")
	}
	// With what the message asks for, the least privileges are enough.
	poor.exec("create publication walpost for table walpost.outbox with (publish = 'insert')")
	poor.insert(2)
	r = poor.start()
	poor.insert(1)
	until(t, "3 events", func() bool { return poor.sink.count() == 3 })
	r.stop()
}

// grantRelay gives the role relay what the schema's own grants give.
func grantRelay(ctx context.Context, f *fixture) error {
	for _, s := range schema.Statements(schema.Options{RelayRole: "relay"}) {
		if strings.Contains(s.SQL, "publication") {
			continue
		}
		if _, err := f.conn.Exec(ctx, s.SQL); err != nil {
			return fmt.Errorf("%s: %w", s.SQL, err)
		}
	}
	return nil
}

// A sink that refuses the relay leaves nothing behind: a slot would keep WAL for a relay that cannot run.
func TestRefusedSinkMakesNoSlot(t *testing.T) {
	f := newFixture(t)
	f.cfg.OpenSink = func(context.Context, Acks) (Sink, error) {
		return nil, pgerror.Permanent(errors.New("login refused"), "log in")
	}
	if err := f.launch().wait(); err == nil || !strings.Contains(err.Error(), "login refused") {
		t.Fatalf("ended with %v", err)
	}
	var made int
	err := f.conn.QueryRow(t.Context(), `select (select count(*) from pg_replication_slots where slot_name = $1)
		+ (select count(*) from walpost.relay_state)`, f.cfg.Slot).Scan(&made)
	if err != nil || made != 0 {
		t.Fatalf("%d slots and states were made, %v", made, err)
	}
}

// TestUnreachable: nobody at the address is waited for, and left at once.
func TestUnreachable(t *testing.T) {
	f := newFixture(t)
	f.cfg.ConnString = "postgres://postgres@127.0.0.1:1/postgres"
	r := f.launch()
	until(t, "the relay waits", func() bool { return r.relay.State().Role == Waiting })
	if reason := r.relay.State().Reason; !strings.Contains(reason, "127.0.0.1 port 1") {
		t.Errorf("waiting for %q", reason)
	}
	r.stop()
}
