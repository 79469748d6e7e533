package catalog

import (
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/schema"
	"walpost/sink/record"
)

// longest is the longest aggregatetype of the default template.
var longest = strings.Repeat("x", 200)

// An outbox that walpost creates refuses every row that walpost could not publish.
func TestCreatedOutboxRefusesBadRows(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		mustApply(t, conn, schema.Options{})
		for _, headers := range []string{"null", `'{}'`, `'{"a": null, "b": [1]}'`} {
			execSQL(t, conn, "insert into walpost.outbox (aggregatetype, type, headers) values ('order', '', "+headers+")")
			execSQL(t, conn, "select walpost.publish('order', null, '', null, "+headers+")")
		}
		for _, headers := range []string{`'[]'`, `'"a"'`, `'1'`, `'null'`, `'[{"a": "b"}]'`} {
			refused(t, conn, "23514", "insert into walpost.outbox (aggregatetype, type, headers) values ('order', 'x', "+headers+")")
			refused(t, conn, "23514", "select walpost.publish('order', null, 'x', null, "+headers+")")
		}
		// The constraint allows the same characters as the relay does in a topic. Only the maximal length is smaller, to leave room for
		// other parts.
		for _, name := range []string{"order", "Order_1.x-y", ".", "-", "", "a b", "ä", "order\n", "\norder", "a/b", "a{b}", "ﬁ", longest, longest + "x"} {
			wanted := ""
			if record.CheckTopic([]byte("outbox.event."+name)) != nil || name == "" || len(name) > len(longest) {
				wanted = "23514"
			}
			_, err := conn.Exec(deadline(t), "insert into walpost.outbox (aggregatetype, type) values ($1, 'x')", name)
			if sqlState(err) != wanted || wanted == "" && err != nil {
				t.Errorf("aggregatetype %q: %v, want SQLSTATE %q", name, err, wanted)
			}
		}
	})
}

// The constraint depends on outbox.topic and the mapping.
func TestChecksFollowTheTopic(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		topic string
		own   bool // rows may name their topic
		takes []string
		not   []string
	}{
		"one topic":           {topic: "events", takes: []string{"('a b', null)", "('', null)"}},
		"by another column":   {topic: "events.{type}", takes: []string{"('a b', null)"}},
		"a long prefix":       {topic: strings.Repeat("p", 240) + ".{aggregatetype}", takes: []string{"('12345678', null)"}, not: []string{"('123456789', null)"}},
		"twice":               {topic: "{aggregatetype}.{aggregatetype}", takes: []string{"(repeat('x', 124), null)"}, not: []string{"(repeat('x', 125), null)"}},
		"rows with their own": {topic: "{aggregatetype}", own: true, takes: []string{"('a b', 'orders')", "('a', null)"}, not: []string{"('a b', null)"}},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, pgtest.New(t))
			o := schema.Options{Mapping: schema.DefaultMapping()}
			if c.own {
				o.Mapping.Names[schema.Topic] = "topic"
			}
			var err error
			if o.Topic, err = schema.ParseTemplate(c.topic, o.Mapping); err != nil {
				t.Fatal(err)
			}
			mustApply(t, conn, o)
			clean(t, conn, o)
			if !c.own {
				execSQL(t, conn, "alter table walpost.outbox add column topic text")
			}
			for _, row := range c.takes {
				execSQL(t, conn, "insert into walpost.outbox (aggregatetype, topic, type) select *, 'x' from (values "+row+") row")
			}
			for _, row := range c.not {
				refused(t, conn, "23514", "insert into walpost.outbox (aggregatetype, topic, type) select *, 'x' from (values "+row+") row")
			}
		})
	}
}

// The printed constraints fit an existing table with any supported types, and do not affect its rows.
func TestChecksForATableThatIsThere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		columns string
		old     string // an existing row
		takes   string
		not     []string
	}{
		"as Debezium documents it": {"id uuid, aggregatetype varchar(255) not null, aggregateid varchar(255), type varchar(255), payload jsonb",
			"('a b')", "('order')", []string{"('a b')"}},
		"ours":        {"aggregatetype text, headers jsonb", "('a b', '[]')", `('order', '{"a": 1}')`, []string{"('a b', null)", "(null, null)", "('order', '[]')"}},
		"other types": {`aggregatetype kind, headers json`, "('a b', '1')", `('order', '{"a": 1}')`, []string{"('a b', null)", "('order', '[]')"}},
		"domains":     {`aggregatetype short, headers object`, "('a b', '1')", `('order', '{"a": 1}')`, []string{"('a b', null)", "('order', '[]')"}},
		"a collation": {`aggregatetype text collate nocase, headers jsonb`, "('a b', '1')", `('order', '{"a": 1}')`, []string{"('a b', null)"}},
	} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.New(t)
			conn := connect(t, db)
			collation := "(locale = 'C')" // for a server without ICU
			if queryOne[bool](t, conn, `select exists (select from pg_collation where collprovider = 'i')`) {
				collation = "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
			}
			execSQL(t, conn, `create schema "Shop"; set search_path = "Shop"; create type kind as enum ('a b', 'order'); create domain short as varchar(10);
				create domain object as jsonb; create collation nocase `+collation+`;
				create table "it's; events" (`+c.columns+`) partition by list (aggregatetype); create table rest partition of "it's; events" default;
				insert into "it's; events" (aggregatetype`+optional(c.columns)+") values "+c.old+"; reset search_path")
			mustApply(t, conn, schema.Options{})
			o := schema.Options{Table: schema.Table{Schema: "Shop", Name: "it's; events"}}
			for range 2 {
				for statement := range strings.SplitSeq(schema.ChecksScript(o), ";\n") {
					execSQL(t, conn, statement)
				}
			}
			insert := `insert into "Shop"."it's; events" (aggregatetype` + optional(c.columns) + ") values "
			execSQL(t, conn, insert+c.takes)
			for _, row := range c.not {
				refused(t, conn, "23514", insert+row)
			}
			if n := queryOne[int](t, conn, `select count(*) from pg_constraint where conname like 'walpost_%' and conrelid = '"Shop"."it''s; events"'::regclass and not convalidated`); n != 1+strings.Count(c.columns, "headers") {
				t.Errorf("%d constraints that are not valid", n)
			}
			if n := queryOne[int](t, conn, `select count(*) from pg_proc where proname like 'setup_%'`); n != 0 {
				t.Errorf("%d functions are left from setting up", n)
			}
			execSQL(t, conn, `delete from "Shop"."it's; events"; alter table "Shop"."it's; events" validate constraint walpost_aggregatetype`)
		})
	}
	// A mistyped name is an error.
	conn := connect(t, pgtest.New(t))
	mustApply(t, conn, schema.Options{})
	refused(t, conn, "42P01", schema.ChecksScript(schema.Options{Table: schema.Table{Schema: "public", Name: "nothing"}}))
}

// optional lists the optional columns of a table.
func optional(columns string) string {
	if strings.Contains(columns, "headers") {
		return ", headers"
	}
	return ""
}

// apply never alters an existing table.
func TestApplyAddsNoChecks(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.New(t))
	version1(t, conn)
	mustApply(t, conn, schema.Options{})
	cleanButForChecks(t, conn)
	execSQL(t, conn, "insert into walpost.outbox (aggregatetype, type) values ('a b', 'x')")
	execSQL(t, conn, schema.ChecksScript(schema.Options{}))
	clean(t, conn, schema.Options{})
	refused(t, conn, "23514", "insert into walpost.outbox (aggregatetype, type) values ('a b', 'x')")
	if n := queryOne[int](t, conn, "select count(*) from walpost.outbox where aggregatetype = 'a b'"); n != 1 {
		t.Errorf("%d rows that were there", n)
	}
}
