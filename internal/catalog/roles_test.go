package catalog

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/schema"
)

// The roles get exactly these rights, and these are enough.
func TestThreeRoles(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		o := withRoles(t, db, conn)
		execSQL(t, conn, `create table public.orders (id int primary key)`)
		mustApply(t, conn, o)

		if got, want := rights(t, conn, o.AppRole), []string{
			"claim EXECUTE", "claim EXECUTE", "inbox INSERT", "outbox INSERT", "publish EXECUTE", "schema_version EXECUTE", "walpost USAGE",
		}; !slices.Equal(got, want) {
			t.Errorf("the application may %q, want %q", got, want)
		}
		if got, want := rights(t, conn, o.RelayRole), []string{
			"dead_letters DELETE", "dead_letters INSERT", "dead_letters SELECT", "dead_letters UPDATE", "outbox SELECT",
			"relay_state DELETE", "relay_state INSERT", "relay_state SELECT", "relay_state UPDATE", "schema_version EXECUTE", "walpost USAGE",
		}; !slices.Equal(got, want) {
			t.Errorf("the relay may %q, want %q", got, want)
		}
		if !queryOne[bool](t, conn, `select rolreplication and rolcanlogin and not rolsuper from pg_roles where rolname = $1`, o.RelayRole) {
			t.Error("the relay cannot log in and stream the WAL, or is more than that")
		}

		app := as(t, db, o.AppRole)
		id := queryOne[string](t, app, `select walpost.publish('orders', '42', 'OrderPlaced', '{"total": 9}', '{"a": "b"}')::text`)
		execSQL(t, app, `insert into walpost.outbox (aggregatetype, aggregateid, type, payload) values ('orders', '43', 'OrderPlaced', null)`)
		if !queryOne[bool](t, app, `select walpost.claim('stock', $1)`, id) {
			t.Error("the first claim is false")
		}
		if !queryOne[bool](t, app, `select walpost.claim('stock', $1, '/another/shop')`, id) {
			t.Error("the first claim of another source is false")
		}
		refused(t, app, "42501", `select walpost.purge_inbox('30 days')`)
		refused(t, app, "42501", `select id from walpost.outbox`)
		refused(t, app, "42501", `insert into walpost.outbox (aggregatetype, type) values ('a', 'b') returning id`)
		if queryOne[bool](t, app, `select walpost.claim('stock', $1)`, id) {
			t.Error("the second claim is true")
		}
		refused(t, app, "42501", `delete from walpost.outbox`)
		refused(t, app, "42501", `select * from walpost.inbox`)
		refused(t, app, "42501", `delete from walpost.inbox`)
		refused(t, app, "42501", `select * from walpost.relay_state`)
		refused(t, app, "42501", `select * from walpost.dead_letters`)

		relay := as(t, db, o.RelayRole)
		if got := queryOne[string](t, relay, `select aggregateid || type || payload::text || headers::text from walpost.outbox where id::text = $1`, id); got != `42OrderPlaced{"total": 9}{"a": "b"}` {
			t.Errorf("the published row is %s", got)
		}
		refused(t, relay, "42501", `delete from walpost.outbox`)
		execSQL(t, relay, `insert into walpost.relay_state (slot, phase) values ('s', 'streaming');
			update walpost.relay_state set confirmed_lsn = '0/1'; delete from walpost.relay_state;
			insert into walpost.dead_letters (slot, position, reason) values ('s', '0', 'too large')
			on conflict (slot, position) do update set attempts = dead_letters.attempts + 1; delete from walpost.dead_letters`)
		refused(t, relay, "42501", `insert into walpost.outbox (aggregatetype, type) values ('a', 'b')`)
		refused(t, relay, "42501", `select walpost.publish('a', 'b', 'c', '1')`)
		refused(t, relay, "42501", `select walpost.claim('a', 'b')`)
		refused(t, relay, "42501", `select walpost.claim('a', 'b', 'c')`)
		refused(t, relay, "42501", `select walpost.purge_inbox('30 days')`)
		refused(t, relay, "42501", `select * from walpost.inbox`)
		refused(t, relay, "42501", `select * from public.orders`)
		refused(t, relay, "42501", `create table walpost.x (i int)`)
	})
}

// In a database in which PUBLIC may not execute new functions, every function that a role calls is granted to it.
func TestRolesNeedNothingOfPublic(t *testing.T) {
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		execSQL(t, conn, `alter default privileges revoke execute on functions from public`)
		o := withRoles(t, db, conn)
		mustApply(t, conn, o)
		clean(t, conn, o)
		if got := rights(t, conn, o.AppRole); slices.Contains(got, "schema_version EXECUTE") {
			t.Errorf("the application may %q, and needs no schema_version()", got)
		}

		app := as(t, db, o.AppRole)
		id := queryOne[string](t, app, `select walpost.publish('orders', '42', 'OrderPlaced', '{}')::text`)
		if !queryOne[bool](t, app, `select walpost.claim('stock', $1)`, id) {
			t.Error("the first claim is false")
		}
		relay := as(t, db, o.RelayRole)
		if version, err := Version(deadline(t), relay); err != nil || version != schema.Version {
			t.Errorf("the relay reads version %d, %v", version, err)
		}
		clean(t, relay, o)

		execSQL(t, conn, "revoke execute on function walpost.schema_version() from "+schema.QuoteIdent(o.RelayRole))
		list, err := Check(deadline(t), conn, o)
		if err != nil || len(list) != 1 || list[0].Found != "no EXECUTE on function walpost.schema_version()" {
			t.Fatalf("without a right: %v, %v", list, err)
		}
		cureAll(t, conn, o, list)
		clean(t, conn, o)
	})
}

// Additional rights, such as those that an earlier version granted, are not a difference, and stay.
func TestMoreRightsThanNeeded(t *testing.T) {
	db := pgtest.New(t)
	conn := connect(t, db)
	o := withRoles(t, db, conn)
	mustApply(t, conn, o)
	execSQL(t, conn, "grant delete on walpost.outbox to "+schema.QuoteIdent(o.RelayRole)+
		"; grant select, delete on walpost.inbox to "+schema.QuoteIdent(o.AppRole))
	clean(t, conn, o)
	mustApply(t, conn, o)
	if got := rights(t, conn, o.AppRole); !slices.Contains(got, "inbox DELETE") {
		t.Errorf("apply left the application %q", got)
	}
	if got := rights(t, conn, o.RelayRole); !slices.Contains(got, "outbox DELETE") {
		t.Errorf("apply left the relay %q", got)
	}
}

// rights lists the rights of a role in schema walpost. It asks for each right separately.
func rights(t *testing.T, conn *pgx.Conn, role string) []string {
	t.Helper()
	rows, err := conn.Query(deadline(t), `
		select c.relname || ' ' || p from pg_class c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
		where c.relnamespace = 'walpost'::regnamespace and c.relkind in ('r', 'p') and has_table_privilege($1, c.oid, p)
		union all
		select p.proname || ' EXECUTE' from pg_proc p where p.pronamespace = 'walpost'::regnamespace and has_function_privilege($1, p.oid, 'EXECUTE')
		union all
		select 'walpost ' || p from unnest('{USAGE,CREATE}'::text[]) p where has_schema_privilege($1, 'walpost', p)
		union all
		select c.relname || ' ' || p from pg_class c, unnest('{USAGE,SELECT,UPDATE}'::text[]) p
		where c.relnamespace = 'walpost'::regnamespace and c.relkind = 'S' and has_sequence_privilege($1, c.oid, p)
		order by 1`, role)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// publish() works with every form of table that the mapping allows with the default names.
func TestPublishIntoAnyTable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		columns string
		call    string
		row     string // the row in the table afterwards, as text
		refuses string // a call that fails
		code    string
	}{
		"as Debezium documents it": {
			"id uuid primary key, aggregatetype varchar(255) not null, aggregateid varchar(255) not null, type varchar(255) not null, payload jsonb",
			`publish('orders', '42', 'Placed', '{"a": 1}')`, `(orders,42,Placed,"{""a"": 1}")`,
			`publish('orders', '42', 'Placed', '{}', '{"a": "b"}')`, "22P02",
		},
		"every type converted": {
			"id text primary key, aggregatetype char(8), aggregateid bigint, type mood, payload bytea, headers json",
			`publish('orders', '42', 'glad', '{"a": 1}', '{"b": 2}')`, `("orders  ",42,glad,"\\x7b2261223a20317d","{""b"": 2}")`,
			`publish('orders', 'x', 'glad', null)`, "22P02",
		},
		"domains": {
			"id uuid_id primary key, aggregatetype short, aggregateid uuid, type short, payload text, headers jsonb",
			`publish('orders', '0d962b1e-5452-4e3b-a55e-4f6f4c27e011', 'Placed', '[1]')`, `(orders,0d962b1e-5452-4e3b-a55e-4f6f4c27e011,Placed,[1],)`,
			`publish('longer than ten', null, 'Placed', null)`, "22001",
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, pgtest.New(t))
			execSQL(t, conn, `create schema shop; set search_path = shop; create type mood as enum ('sad', 'glad'); create domain short as varchar(10);
				create domain uuid_id as uuid; create table events (`+c.columns+`)`)
			o := schema.Options{Table: schema.Table{Schema: "shop", Name: "events"}}
			mustApply(t, conn, o)
			clean(t, conn, o)
			execSQL(t, conn, `set search_path = ''`)
			id := queryOne[string](t, conn, "select walpost."+c.call+"::text")
			row := queryOne[string](t, conn, `select e::text from shop.events e where id::text = $1`, id)
			if want := "(" + id + "," + c.row[1:]; row != want {
				t.Errorf("the row is %s, want %s", row, want)
			}
			refused(t, conn, c.code, "select walpost."+c.refuses)
			if n := queryOne[int](t, conn, `select count(*) from shop.events`); n != 1 {
				t.Errorf("%d rows, want that of the call that succeeded", n)
			}
		})
	}
	conn := connect(t, pgtest.New(t))
	execSQL(t, conn, `create table events (id bigint generated always as identity primary key, aggregatetype text, aggregateid text, type text, payload text)`)
	o := schema.Options{Table: schema.Table{Schema: "public", Name: "events"}}
	mustApply(t, conn, o)
	clean(t, conn, o)
	if n := queryOne[int](t, conn, `select count(*) from pg_proc where proname = 'publish'`); n != 0 {
		t.Error("there is a publish() for ids that no uuid can be")
	}
}

// An event in a transaction that rolls back is not published.
func TestPublishBelongsToTheTransaction(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.New(t))
	mustApply(t, conn, schema.Options{})
	execSQL(t, conn, `begin; select walpost.publish('a', '1', 'c', '1'); savepoint s; select walpost.publish('a', '2', 'c', '1'); rollback to s; commit`)
	execSQL(t, conn, `begin; select walpost.publish(aggregatetype => 'a', aggregateid => '3', type => 'c', payload => null); rollback`)
	execSQL(t, conn, `select walpost.publish('many', i::text, 'c', null) from generate_series(1, 1000) i`)
	if got := queryOne[string](t, conn, `select string_agg(aggregateid, ' ') from walpost.outbox where aggregatetype = 'a'`); got != "1" {
		t.Errorf("the outbox has %s, want 1", got)
	}
	if n := queryOne[int](t, conn, `select count(distinct id) from walpost.outbox where aggregatetype = 'many'`); n != 1000 {
		t.Errorf("a thousand calls in one query made %d events", n)
	}
	refused(t, conn, "23502", `select walpost.publish(null, '1', 'c', '1')`)
	if strings.Contains(queryOne[string](t, conn, `select prosrc from pg_proc where proname = 'publish'`), ";") {
		t.Error("a semicolon in the body of publish()")
	}
}
