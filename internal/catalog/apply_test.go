package catalog

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/schema"
)

// The printed script, run twice as people and migration tools run it, has the same result as apply.
func TestScriptHoweverItIsSplit(t *testing.T) {
	t.Parallel()
	ways := map[string]func(script string) []string{
		"in one go":            func(script string) []string { return []string{script} },
		"at every semicolon":   func(script string) []string { return strings.Split(script, ";") },
		"at ends of lines":     func(script string) []string { return strings.Split(script, ";\n") },
		"under a goose marker": func(script string) []string { return strings.SplitAfter("-- +goose up\n"+script, ";\n") },
	}
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		o := withRoles(t, db, conn)
		for name, split := range ways {
			for range 2 {
				for _, part := range split(schema.Script(o)) {
					if _, err := conn.Exec(deadline(t), part); err != nil {
						t.Fatalf("%s: %v\n%s", name, err, part)
					}
				}
			}
			clean(t, conn, o)
			mustApply(t, conn, o)
			clean(t, conn, o)
			execSQL(t, conn, "drop schema walpost cascade")
			execSQL(t, conn, "drop publication walpost")
		}
	})
}

func TestApplyTwiceAndByEightAtOnce(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		first := connect(t, db)
		o := withRoles(t, db, first)
		var conns []*pgx.Conn
		for range 8 {
			conns = append(conns, connect(t, db))
		}
		for range 2 {
			var wg sync.WaitGroup
			for _, conn := range conns {
				wg.Go(func() {
					if err := Apply(deadline(t), conn, o); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		clean(t, first, o)
		if n := queryOne[int](t, first, `select count(*) from pg_proc where proname like 'setup_%'`); n != 0 {
			t.Error("a function that sets something up is still there")
		}
		version, err := Version(deadline(t), first)
		if err != nil || version != schema.Version {
			t.Errorf("the schema is version %d, %v", version, err)
		}
	})
}

// The outbox may have any name that SQL can quote, even one that would end a statement or a string.
func TestApplyToOtherTables(t *testing.T) {
	t.Parallel()
	renamed := schema.DefaultMapping()
	renamed.Names = [schema.NumColumns]string{"event id", "kind", "key", "kind", "body", "meta", "at", "at", "to;pic", "shard"}
	for name, o := range map[string]schema.Options{
		"absent":       {Table: schema.Table{Schema: "shop", Name: "Events"}},
		"odd names":    {Table: schema.Table{Schema: `s;h"op`, Name: `it's; "\` + "\n--x"}, Publication: `p'u;b"`},
		"renamed":      {Table: schema.Table{Schema: "shop", Name: "order"}, Mapping: renamed},
		"renamed ours": {Mapping: renamed},
	} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.New(t)
			conn := connect(t, db)
			if o.Table.Schema != "" {
				execSQL(t, conn, "create schema "+schema.QuoteIdent(o.Table.Schema))
			}
			for range 2 {
				mustApply(t, conn, o)
				clean(t, conn, o)
			}
			execSQL(t, conn, "drop schema walpost cascade")
			if _, err := conn.Exec(deadline(t), schema.Script(o)); err != nil {
				t.Errorf("printed: %v", err)
			}
			o = o.WithDefaults()
			if o.Mapping.DefaultNames() {
				id := queryOne[string](t, conn, `select walpost.publish('a', 'b', 'c', '{}')::text`)
				if n := queryOne[int](t, conn, "select count(*) from "+o.Table.String()+" where id::text = $1", id); n != 1 {
					t.Errorf("publish() left %d rows with the id that it returned", n)
				}
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := connect(t, db)
	execSQL(t, conn, `create table events (id numeric primary key, aggregatetype text, aggregateid date, type text);
		create view seen as select * from events; create unlogged table fast (id uuid)`)
	refuses := func(o schema.Options, facts ...string) {
		t.Helper()
		err := Apply(deadline(t), conn, o)
		for _, fact := range facts {
			if err == nil || !strings.Contains(err.Error(), fact) {
				t.Errorf("apply to %s: %v, want an error with %q", o.Table, err, fact)
			}
		}
		if queryOne[bool](t, conn, `select exists (select from pg_namespace where nspname = 'walpost')`) {
			t.Errorf("apply to %s refused and made something", o.Table)
		}
	}
	table := func(name string) schema.Options {
		return schema.Options{Table: schema.Table{Schema: "public", Name: name}}
	}
	refuses(table("events"), `table public.events: column "id" is numeric, wanted uuid, text or integer`,
		`column "aggregateid" is date, wanted text, uuid, integer or bytea`, `no column "payload"`)
	refuses(table("seen"), "public.seen is a view")
	refuses(table("fast"), "public.fast is unlogged")
	refuses(schema.Options{Table: schema.Table{Schema: "nowhere", Name: "events"}}, "table nowhere.events", "3F000")
	refuses(schema.Options{AppRole: "nobody knows"}, "grants to nobody knows", "create role")

	o := withRoles(t, db, conn)
	app := as(t, db, o.AppRole)
	if err := Apply(deadline(t), app, schema.Options{}); err == nil || !strings.Contains(err.Error(), "walpost schema print") {
		t.Errorf("apply without rights: %v, want the way out", err)
	}
	execSQL(t, app, "reset role; set default_transaction_read_only = on")
	if err := Apply(deadline(t), app, schema.Options{}); err != nil {
		t.Errorf("apply where transactions are read-only by default: %v", err)
	}

	execSQL(t, conn, `create or replace function walpost.schema_version() returns integer language sql as 'select 99'`)
	if err := Apply(deadline(t), conn, schema.Options{}); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("apply over a newer version: %v", err)
	}
}

// An owner who may not create anything more in the database can still run apply if everything exists already.
func TestApplyTakesNoRightThatItDoesNotUse(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		o := withRoles(t, db, conn)
		owner := schema.QuoteIdent(o.AppRole)
		execSQL(t, conn, fmt.Sprintf(`create schema shop; create table shop.events (like pg_class);
			drop table shop.events; create schema walpost authorization %[1]s;
			create table shop.events (id uuid primary key, aggregatetype text, aggregateid text, type text, payload text);
			alter table shop.events owner to %[1]s; grant usage on schema shop to %[1]s;
			alter role %[2]s replication`, owner, schema.QuoteIdent(o.RelayRole)))
		with := schema.Options{Table: schema.Table{Schema: "shop", Name: "events"}}
		if _, err := conn.Exec(deadline(t), schema.PublicationSQL(with)); err != nil {
			t.Fatal(err)
		}
		mustApply(t, as(t, db, o.AppRole), with)
		clean(t, conn, with)
	})
}

// A publication of another tool only gets the outbox added.
func TestApplyLeavesAPublicationAsItIs(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := connect(t, db)
	execSQL(t, conn, `create publication dbz for all tables; create table orders (id int primary key); create publication own for table orders`)
	mustApply(t, conn, schema.Options{Publication: "dbz"})
	mustApply(t, conn, schema.Options{Publication: "own"})
	for _, publication := range []string{"dbz", "own"} {
		list, err := Check(deadline(t), conn, schema.Options{Publication: publication})
		if err != nil || len(list) != 1 || list[0].Found != "publish = 'delete, insert, truncate, update'" {
			t.Errorf("publication %s, made with defaults: %v, %v, want one difference, in publish", publication, list, err)
		}
	}
	if n := queryOne[int](t, conn, `select count(*) from pg_publication_tables where pubname = 'own'`); n != 2 {
		t.Errorf("publication own has %d tables, want orders and the outbox", n)
	}
}

func TestPartitionedOutbox(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		execSQL(t, conn, `create table events (id uuid not null, aggregatetype text not null, aggregateid text, type text not null, payload jsonb,
				headers jsonb, created_at timestamptz not null default now()) partition by range (created_at);
			create table events_1 partition of events for values from (minvalue) to ('2026-01-01');
			create table events_2 partition of events default`)
		o := schema.Options{Table: schema.Table{Schema: "public", Name: "events"}}
		described, err := Describe(deadline(t), conn, o.Table)
		if err != nil || !described.Partitioned {
			t.Errorf("described as %+v, %v, want partitioned", described, err)
		}
		for range 2 {
			mustApply(t, conn, o)
			clean(t, conn, o)
		}
		execSQL(t, conn, `select walpost.publish('a', 'b', 'c', '1')`)
		execSQL(t, conn, `alter publication walpost set (publish_via_partition_root = false)`)
		list, err := Check(deadline(t), conn, o)
		if err != nil || len(list) != 1 || !strings.Contains(list[0].Cure, "publish_via_partition_root = true") {
			t.Errorf("partitions under their own names: %v, %v, want one difference", list, err)
		}
		mustApply(t, conn, o) // the root counts as a member even if only its partitions are listed
	})
}

func TestDescribeErrors(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.New(t))
	execSQL(t, conn, `create view seen as select 1; create unlogged table fast (id uuid); create temporary table gone (id uuid)`)
	for name, reason := range map[string]string{"seen": "view", "fast": "unlogged", "nothing": "does not exist"} {
		_, err := Describe(deadline(t), conn, schema.Table{Schema: "public", Name: name})
		if e := (*TableError)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), "outbox.table") {
			t.Errorf("describe %s: %v, want a TableError with %q and the way out", name, err, reason)
		}
	}
}
