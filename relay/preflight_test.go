package relay

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
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
			func(f *fixture) { f.Exec("drop schema walpost cascade") },
			[]string{"schema walpost is not in this database", "walpost schema apply"},
		},
		"older schema": {
			func(f *fixture) {
				f.Exec("create or replace function walpost.schema_version() returns int language sql as 'select 0'")
			},
			[]string{"schema walpost is of version 0", "walpost schema apply"},
		},
		"schema without a column": {
			func(f *fixture) { f.Exec("alter table walpost.relay_state drop column confirmed_commit_time") },
			[]string{"confirmed_commit_time", "42703", "run: walpost schema check"},
		},
		"role that may not write": {
			func(f *fixture) { f.Exec("alter role " + f.reader() + " set default_transaction_read_only = on") },
			[]string{"may not write: default_transaction_read_only is on", "run: ALTER ROLE", "_reader RESET default_transaction_read_only"},
		},
		"role that may not write in the database": {
			func(f *fixture) {
				f.Exec("alter role " + f.reader() + " in database " + f.Conn.Config().Database + " set default_transaction_read_only = on")
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
			func(f *fixture) { f.Exec("alter table walpost.outbox alter aggregatetype type bytea using ''") },
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
		"publication with a column list": { // none of them is needed to read a row, so none would be missed
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
			[]string{"without aggregateid, payload, headers, created_at", "in the slot without these columns, and whole only in the table"},
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
			[]string{"test_decoding", "not of pgoutput"},
		},
		"physical slot": {
			func(f *fixture) { f.Exec("select pg_create_physical_replication_slot($1)", f.cfg.Slot) },
			[]string{"physical", "not of pgoutput"},
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

// TestColumnListThatFits: a list that has the mapped columns is no fault, whatever else it leaves out.
func TestColumnListThatFits(t *testing.T) {
	f := newFixture(t)
	f.Exec("alter table walpost.outbox add note text")
	f.Exec("alter publication walpost set table walpost.outbox (id, aggregatetype, aggregateid, type, payload, headers, created_at)")
	dbtest.WantHealthy(t, f.diagnose(), "max_slot_wal_keep_size")
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	// One that no longer fits is noticed, and the cure is as good as it says.
	f.Exec("alter publication walpost set table walpost.outbox (id, aggregatetype, aggregateid, type, payload, note)")
	r.look()
	err := r.wait()
	dbtest.WantPermanent(t, err, "without headers, created_at", "in the slot without these columns, and whole only in the table: insert them again, such as by WITH gone")
	_, sql, _ := strings.Cut(err.Error(), "run: ")
	for _, one := range strings.SplitN(sql, "; ", 5)[:4] {
		f.Exec(one)
	}
	dbtest.WantHealthy(t, f.diagnose(), "max_slot_wal_keep_size")
	f.start().stop()
}

// reader makes a role that may stream and keep state and not read the outbox, and returns its name. The relay logs in as it from now on.
func (f *fixture) reader() string {
	f.T.Helper()
	role := f.Role("reader", "login replication")
	f.Exec("grant usage on schema walpost to " + role)
	f.Exec("grant select, insert, update on walpost.relay_state to " + role)
	f.cfg.ConnString = f.As(role)
	return role
}

// TestPublicationMade: a first start makes the publication where the role may, also for a partitioned table, and else says how.
func TestPublicationMade(t *testing.T) {
	f := newFixture(t)
	f.Exec("drop publication walpost")
	f.Exec("create table public.parts (like walpost.outbox including defaults) partition by list (type)")
	f.Exec("create table public.part partition of public.parts default")
	f.cfg.Table = schema.Table{Schema: "public", Name: "parts"}
	r := f.start()
	f.Exec(`insert into public.parts (aggregatetype, aggregateid, type, payload) values ('order', '1', 'placed', '{}')`)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()

	server := pgtest.Start(t, pgtest.Options{})
	poor := fixtureOn(t, server.DSN("postgres"))
	poor.Exec("drop publication walpost")
	poor.Exec("create role relay login replication")
	if err := grantRelay(t.Context(), poor); err != nil {
		t.Fatal(err)
	}
	poor.cfg.ConnString = poor.As("relay")
	err := poor.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "create publication walpost for table walpost.outbox") {
		t.Fatalf("ended with %v", err)
	}
	var slots int
	poor.Conn.QueryRow(t.Context(), "select count(*) from pg_replication_slots").Scan(&slots)
	if slots != 0 {
		t.Error("a slot was made although there is no publication")
	}
	// With what the message asks for, the least privileges are enough.
	poor.Exec("create publication walpost for table walpost.outbox with (publish = 'insert')")
	poor.Insert(2)
	r = poor.start()
	poor.Insert(1)
	dbtest.Until(t, "3 events", func() bool { return poor.sink.count() == 3 })
	r.stop()
}

// grantRelay gives the role relay what the schema's own grants give.
func grantRelay(ctx context.Context, f *fixture) error {
	for _, s := range schema.Statements(schema.Options{RelayRole: "relay"}) {
		if strings.Contains(s.SQL, "publication") {
			continue
		}
		if _, err := f.Conn.Exec(ctx, s.SQL); err != nil {
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
	err := f.Conn.QueryRow(t.Context(), `select (select count(*) from pg_replication_slots where slot_name = $1)
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
	dbtest.Until(t, "the relay waits", func() bool { return r.relay.State().Role == Waiting })
	if reason := r.relay.State().Reason; !strings.Contains(reason, "127.0.0.1 port 1") {
		t.Errorf("waiting for %q", reason)
	}
	r.stop()
}
