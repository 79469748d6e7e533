package e2e

import (
	"context"
	"testing"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// What only a person can cure ends the start, with exit code 1.
func TestRefusesToStart(t *testing.T) {
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
		"no such table": {
			apply: true,
			env:   []string{"WALPOST_OUTBOX_TABLE=shop.outbox"},
			says:  []string{"shop.outbox", "does not exist"},
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

// A slot of the name that is none of walpost's kind.
func TestRefusesForeignSlot(t *testing.T) {
	p := newPipe(t).withSchema(t)
	p.exec(t, "SELECT pg_create_physical_replication_slot('"+p.db.Name+"')")
	t.Cleanup(func() {
		// It belongs to no database, so it does not go with the test's.
		ctx := context.Background()
		if _, err := p.superuser(ctx, "SELECT pg_drop_replication_slot('"+p.db.Name+"')"); err != nil {
			t.Error(err)
		}
	})
	r := p.launch(t)
	refusal{code: 1, says: []string{p.db.Name, "physical"}}.check(t, r.exit(t), r.output())
}

// Faults of a whole server: its own one.
func TestRefusesServer(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{
		Settings: map[string]string{"wal_level": "replica", "max_replication_slots": "1", "password_encryption": "scram-sha-256"},
		HBA:      []string{"host all,replication all 127.0.0.1/32 scram-sha-256"},
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
	t.Run("no free slot", func(t *testing.T) {
		p.exec(t, "SELECT pg_create_physical_replication_slot('taken')")
		r := p.launch(t)
		refusal{code: 1, says: []string{"max_replication_slots"}}.check(t, r.exit(t), r.output())
		if n := ask[int](t, p.conn, "SELECT count(*) FROM pg_replication_slots"); n != 1 {
			t.Errorf("%d slots", n)
		}
	})
}
