package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// A problem that only a person can cure ends the start with exit code 1.
func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		apply   bool
		prepare []string
		env     []string
		says    []string
	}{
		"no schema walpost": {
			says: []string{"schema walpost", "walpost schema apply"},
		},
		"no such database": {
			apply: true,
			says:  []string{"no_such_db", "create the database"},
		},
		"older schema walpost": {
			apply:   true,
			prepare: []string{"CREATE OR REPLACE FUNCTION walpost.schema_version() RETURNS integer LANGUAGE sql AS 'SELECT 0'"},
			says:    []string{"schema walpost has version 0", "walpost schema apply"},
		},
		"no such table": {
			apply: true,
			env:   []string{"WALPOST_OUTBOX_TABLE=shop.outbox"},
			says:  []string{"shop.outbox", "does not exist", "walpost schema apply --table shop.outbox", "outbox.table"},
		},
		"a view": {
			apply:   true,
			prepare: []string{"CREATE VIEW public.events AS SELECT * FROM walpost.outbox"},
			env:     []string{"WALPOST_OUTBOX_TABLE=public.events"},
			says:    []string{"public.events", "is a view", "name another by outbox.table"},
		},
		"an unlogged table": {
			apply:   true,
			prepare: []string{"CREATE UNLOGGED TABLE public.events (LIKE walpost.outbox)"},
			env:     []string{"WALPOST_OUTBOX_TABLE=public.events"},
			says:    []string{"public.events", "is unlogged", "ALTER TABLE public.events SET LOGGED"},
		},
		"no required column": {
			apply:   true,
			prepare: []string{"ALTER TABLE walpost.outbox DROP COLUMN payload"},
			says:    []string{"walpost.outbox", "payload"},
		},
		"no column that was named": {
			apply: true,
			env:   []string{"WALPOST_OUTBOX_COLUMNS_HEADERS=extras"},
			says:  []string{"walpost.outbox", "extras"},
		},
		"unsuitable type": {
			apply:   true,
			prepare: []string{"ALTER TABLE walpost.outbox ALTER COLUMN payload TYPE numeric USING 0"},
			says:    []string{"walpost.outbox", "payload", "numeric", "jsonb, json, text or bytea"},
		},
		"two faults at once": {
			apply:   true,
			prepare: []string{"ALTER TABLE walpost.outbox ALTER COLUMN payload TYPE numeric USING 0", "ALTER TABLE walpost.outbox DROP COLUMN type"},
			says:    []string{"payload", "numeric", "type"},
		},
		"publication without the table": {
			apply:   true,
			prepare: []string{"ALTER PUBLICATION walpost DROP TABLE walpost.outbox"},
			says:    []string{"publication", "walpost.outbox", "ALTER PUBLICATION", "ADD TABLE"},
		},
		"publication without inserts": {
			apply:   true,
			prepare: []string{"ALTER PUBLICATION walpost SET (publish = 'update, delete')"},
			says:    []string{"publication walpost", "does not publish inserts", "ALTER PUBLICATION walpost SET (publish = 'insert')"},
		},
		"publication with a column list": {
			apply:   true,
			prepare: []string{"ALTER PUBLICATION walpost SET TABLE walpost.outbox (id, aggregatetype, aggregateid, type, payload, created_at)"},
			says: []string{"publication walpost has a column list on table walpost.outbox without headers",
				"ALTER PUBLICATION walpost DROP TABLE walpost.outbox; ALTER PUBLICATION walpost ADD TABLE walpost.outbox"},
		},
		"slot without its publication": {
			apply: true,
			prepare: []string{"SELECT pg_create_logical_replication_slot(current_database(), 'pgoutput')",
				"DROP PUBLICATION walpost"},
			says: []string{"publication walpost does not exist", "create publication walpost", "pg_replication_slot_advance"},
		},
		"slot of another plugin": {
			apply:   true,
			prepare: []string{"SELECT pg_create_logical_replication_slot(current_database(), 'test_decoding')"},
			says:    []string{"uses the plugin test_decoding and not pgoutput", "another name"},
		},
		"publication of a partitioned table without its root": {
			apply: true,
			prepare: []string{`CREATE SCHEMA shop`,
				`CREATE TABLE shop.outbox (id uuid, aggregatetype text, aggregateid text, type text, payload jsonb) PARTITION BY HASH (id)`,
				`CREATE PUBLICATION leaves FOR TABLE shop.outbox WITH (publish = 'insert')`},
			env:  []string{"WALPOST_OUTBOX_TABLE=shop.outbox", "WALPOST_POSTGRES_PUBLICATION=leaves"},
			says: []string{"leaves", "shop.outbox", "publish_via_partition_root = true"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t)
			if c.apply {
				p.withSchema(t)
			}
			p.exec(t, c.prepare...)
			if name == "no such database" {
				c.env = []string{"WALPOST_POSTGRES_URL=" + p.elsewhere(t, "no_such_db")}
			}
			p.refuses(t, refusal{code: 1, says: c.says}, c.env...)
		})
	}
}

// The slot of that name belongs to another database of the server, as happens
// with the default name if two databases have a walpost. A relay must not stand
// by behind the other database's relay.
func TestRefusesSlotOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	p, other := newPipe(t).withSchema(t), newPipe(t).withSchema(t)
	name := "WALPOST_POSTGRES_SLOT=" + p.db.Name
	r := other.start(t, name)
	want := refusal{code: 1, says: []string{"slot " + p.db.Name, "database " + other.db.Name, "another name", "postgres.slot"}}
	p.refuses(t, want)
	r.stop(t)
	p.refuses(t, want)
	p.exec(t, "DROP PUBLICATION walpost")
	p.refuses(t, want)
	r = other.start(t, name)
	r.stop(t)
}

// A slot of that name of a kind that walpost cannot use.
func TestRefusesForeignSlot(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	p.exec(t, "SELECT pg_create_physical_replication_slot('"+p.db.Name+"')")
	t.Cleanup(func() {
		// It belongs to no database, so it is not dropped with the test's.
		ctx := context.Background()
		if _, err := p.superuser(ctx, "SELECT pg_drop_replication_slot('"+p.db.Name+"')"); err != nil {
			t.Error(err)
		}
	})
	p.refuses(t, refusal{code: 1, says: []string{p.db.Name, "physical"}})
}

// Problems of a whole server. The test has its own server.
func TestRefusesServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{
		Settings: map[string]string{"wal_level": "replica", "max_replication_slots": "1", "password_encryption": "scram-sha-256"},
		HBA:      []string{"host all outsider 127.0.0.1/32 reject", "host all,replication all 127.0.0.1/32 scram-sha-256"},
	})
	if err := server.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	db := &pgtest.DB{Name: "shop", DSN: server.DSN("shop"), Major: server.Major()}
	p := pipeOn(t, db, kafkatest.Brokers(t)).withSchema(t)
	p.exec(t, "CREATE ROLE relay LOGIN REPLICATION PASSWORD 'right'", "CREATE ROLE plain LOGIN PASSWORD 'hidden-word'")

	t.Run("wrong password", func(t *testing.T) {
		p.refuses(t, refusal{code: 1, says: []string{"password", "relay", "pg_hba.conf"}}, "WALPOST_POSTGRES_URL="+p.as(t, "relay", "hidden-word"))
	})
	t.Run("unknown role", func(t *testing.T) {
		p.refuses(t, refusal{code: 1, says: []string{"nobody_here"}}, "WALPOST_POSTGRES_URL="+p.as(t, "nobody_here", "hidden-word"))
	})
	t.Run("wal_level", func(t *testing.T) {
		p.refuses(t, refusal{code: 1, says: []string{"wal_level is replica", "ALTER SYSTEM SET wal_level = logical", "restart"}})
	})
	p.exec(t, "ALTER SYSTEM SET wal_level = 'logical'")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := server.Stop(ctx, pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.conn = p.connect(t)
	t.Run("no privileges", func(t *testing.T) {
		p.refuses(t, refusal{code: 1, says: []string{"plain", "permission denied"}}, "WALPOST_POSTGRES_URL="+p.as(t, "plain", "hidden-word"))
	})
	privileges(t, p)
	t.Run("no free slot", func(t *testing.T) {
		p.exec(t, "SELECT pg_create_physical_replication_slot('taken')")
		p.refuses(t, refusal{code: 1, says: []string{"max_replication_slots"}})
		if n := ask[int](t, p.conn, "SELECT count(*) FROM pg_replication_slots"); n != 1 {
			t.Errorf("%d slots", n)
		}
		if r := p.cli(t, nil, "slot", "show"); r.code != 1 || !strings.Contains(r.stderr, "does not exist, and no relay has used it") {
			t.Errorf("slot show: exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		// This start does not remove the record of an earlier first start.
		p.exec(t, "INSERT INTO walpost.relay_state (slot, phase) VALUES ('shop', 'backfilling')")
		r := p.launch(t)
		refusal{code: 1, says: []string{"max_replication_slots"}}.check(t, r.exit(t), r.output())
		if phase := ask[string](t, p.conn, "SELECT coalesce((SELECT phase FROM walpost.relay_state WHERE slot = 'shop'), 'gone')"); phase != "backfilling" {
			t.Errorf("the phase is %s", phase)
		}
		p.exec(t, "DELETE FROM walpost.relay_state", "SELECT pg_drop_replication_slot('taken')")
	})
	t.Run("lost slot", func(t *testing.T) {
		p.start(t).stop(t)
		p.exec(t, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()", "CREATE TABLE busy (i int)")
		status := func() string {
			return ask[string](t, p.conn, "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1", p.db.Name)
		}
		eventually(t, "the slot is lost", func() string {
			p.exec(t, "INSERT INTO busy VALUES (1)", "SELECT pg_switch_wal()", "CHECKPOINT")
			if s := status(); s != "lost" {
				return s
			}
			return ""
		})
		p.refuses(t, refusal{code: 1, says: []string{"slot shop", "wal_status is lost", "pg_drop_replication_slot('shop')", "DELETE FROM walpost.relay_state WHERE slot = 'shop'", "max_slot_wal_keep_size"}})
		if s := status(); s != "lost" {
			t.Errorf("the lost slot is %s now", s)
		}
	})
}

// privileges takes single rights from a role that has the grants of schema
// apply. The result is the same if TLS is tried first, which the server does not
// have, and doctor reports the same.
func privileges(t *testing.T, p *pipe) {
	p.withSchema(t, "--relay-role", "relay")
	p.exec(t, "CREATE ROLE outsider LOGIN REPLICATION PASSWORD 'hidden-word'")
	for _, c := range []struct {
		name, take, back string
		role             string // else relay
		query            string // of the address
		says             []string
	}{
		{name: "no line in pg_hba.conf", role: "outsider", says: []string{"outsider", "28000", "pg_hba.conf"}},
		{name: "no REPLICATION", take: "ALTER ROLE relay NOREPLICATION", back: "ALTER ROLE relay REPLICATION",
			says: []string{"42501", "replication", "ALTER ROLE relay REPLICATION"}},
		{name: "no CONNECT", take: "REVOKE CONNECT ON DATABASE shop FROM relay, public", back: "GRANT CONNECT ON DATABASE shop TO relay",
			says: []string{"permission denied for database", "GRANT CONNECT ON DATABASE shop TO relay"}},
		{name: "channel binding without TLS", query: "channel_binding=require", says: []string{"channel binding", "channel_binding=require needs TLS", "remove the parameter"}},
		{name: "no column of the state", take: "ALTER TABLE walpost.relay_state DROP COLUMN snapshot_lsn, DROP COLUMN confirmed_lsn",
			back: "ALTER TABLE walpost.relay_state ADD COLUMN snapshot_lsn pg_lsn, ADD COLUMN confirmed_lsn pg_lsn",
			says: []string{"snapshot_lsn", "42703", "run: walpost schema check"}},
		{name: "no schema_version()", take: "REVOKE EXECUTE ON FUNCTION walpost.schema_version() FROM relay, public", back: "GRANT EXECUTE ON FUNCTION walpost.schema_version() TO relay",
			says: []string{"permission denied", "schema_version", "walpost schema print --relay-role relay"}},
		{name: "no SELECT", take: "REVOKE SELECT ON walpost.outbox FROM relay", back: "GRANT SELECT ON walpost.outbox TO relay",
			says: []string{"relay may not read walpost.outbox", "GRANT SELECT ON walpost.outbox TO relay"}},
		{name: "row level security", take: "ALTER TABLE walpost.outbox ENABLE ROW LEVEL SECURITY", back: "ALTER TABLE walpost.outbox DISABLE ROW LEVEL SECURITY",
			says: []string{"row level security of walpost.outbox applies to the role relay", "ALTER ROLE relay BYPASSRLS", "ALTER TABLE walpost.outbox DISABLE ROW LEVEL SECURITY", "outbox.backfill: skip"}},
		{name: "no state", take: "REVOKE ALL ON walpost.relay_state FROM relay", back: "GRANT SELECT, INSERT, UPDATE ON walpost.relay_state TO relay",
			says: []string{"permission denied", "relay_state", "walpost schema print --relay-role relay"}},
		{name: "no publication, and no right to make it", take: "DROP PUBLICATION walpost", back: "CREATE PUBLICATION walpost FOR TABLE walpost.outbox WITH (publish = 'insert')",
			says: []string{"publication walpost does not exist", "relay may not create it", "create publication walpost for table walpost.outbox"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			role, password := "relay", "right"
			if c.role != "" {
				role, password = c.role, "hidden-word"
			}
			if c.take != "" {
				p.exec(t, c.take)
				defer p.exec(t, c.back)
			}
			address, _, _ := strings.Cut(p.as(t, role, password), "?")
			for _, sslmode := range []string{"sslmode=disable", ""} {
				env := "WALPOST_POSTGRES_URL=" + address + "?" + strings.Trim(sslmode+"&"+c.query, "&")
				p.refuses(t, refusal{code: 1, says: c.says}, env)
				var failed strings.Builder
				for _, f := range p.doctor(t, []string{env, "WALPOST_ADMIN_LISTEN="}) {
					if f.Level == "failed" {
						fmt.Fprintln(&failed, f.Found, f.Cure)
					}
				}
				refusal{says: c.says}.check(t, 0, failed.String())
			}
		})
	}
}
