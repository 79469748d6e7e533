package decoder

import (
	"strings"

	"walpost/schema"
)

// scenario is SQL whose WAL is stored in testdata/pgoutput, with the required result.
type scenario struct {
	name        string
	setup       []string              // statements before the slot exists; nil: the outbox alone
	publication string                // the text after CREATE PUBLICATION p; "": inserts of the outbox
	options     []string              // in addition to proto_version and publication_names
	table       schema.Table          // zero: walpost.outbox
	mapping     func(*schema.Mapping) // nil: the default

	// steps are statements, each after the name of the session that runs it ("a: INSERT …"). The data of a COPY are in the lines below it.
	steps []string

	// want are the payloads of all committed rows, in the order of commits. They follow from the semantics of SQL and are written by hand,
	// so that -update cannot turn a lost row into the expected result.
	want []string

	seed bool // it is in the fuzz corpus

	// wantErr is the beginning of the error that ends the stream; "": none.
	wantErr string
}

const outboxDDL = `CREATE TABLE walpost.outbox (
	id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text, type text NOT NULL, payload jsonb, headers jsonb,
	created_at timestamptz NOT NULL DEFAULT '2026-11-20 12:34:56.789012+00')`

// put returns an INSERT of one row with the payload n.
func put(n string) string {
	return "INSERT INTO walpost.outbox (id, aggregatetype, aggregateid, type, payload) VALUES " +
		"(md5('" + n + "')::uuid, 'order', 'k" + n + "', 'created', '" + n + "')"
}

var scenarios = []scenario{
	{
		name:  "rows",
		steps: []string{"a: " + put("1"), "a: " + put("2"), "b: " + put("3")},
		want:  []string{"1", "2", "3"},
	},
	{
		name: "multirow",
		steps: []string{
			`a: INSERT INTO walpost.outbox SELECT md5(n::text)::uuid, 'order', 'k' || n % 2, 'created', to_jsonb(n), '{"h": "v"}' FROM generate_series(1, 5) n`,
			"a: BEGIN", "a: " + put("6"), "a: " + put("7"), "a: DELETE FROM walpost.outbox", "a: COMMIT", // rows that are inserted and deleted are still events
			"a: INSERT INTO walpost.outbox VALUES (md5('1')::uuid, 'order', 'k', 'x', '8'), (md5('1')::uuid, 'order', 'k', 'x', '9') ON CONFLICT DO NOTHING",
		},
		want: []string{"1", "2", "3", "4", "5", "6", "7", "8"},
	},
	{
		name: "interleaved",
		steps: []string{
			"a: BEGIN", "a: " + put("1"), "b: BEGIN", "b: " + put("2"), "c: " + put("3"), "a: " + put("4"), "b: " + put("5"),
			"b: COMMIT", "a: " + put("6"), "a: COMMIT",
		},
		want: []string{"3", "2", "5", "1", "4", "6"},
	},
	{
		name: "copy",
		steps: []string{"a: COPY walpost.outbox (id, aggregatetype, aggregateid, type, payload) FROM STDIN\n" +
			"00000000-0000-0000-0000-000000000001\torder\tk\tcreated\t1\n" +
			"00000000-0000-0000-0000-000000000002\torder\t\\N\tcreated\t2\n" +
			"00000000-0000-0000-0000-000000000003\torder\t\tcreated\t\\N\n"},
		want: []string{"1", "2", "NULL"},
	},
	{
		name: "savepoints",
		steps: []string{
			"a: BEGIN", "a: " + put("1"), "a: SAVEPOINT s", "a: " + put("2"), "a: ROLLBACK TO SAVEPOINT s", "a: " + put("3"),
			"a: SAVEPOINT t", "a: " + put("4"), "a: RELEASE SAVEPOINT t", "a: COMMIT",
			"a: BEGIN", "a: " + put("5"), "a: ROLLBACK",
			"a: DO $$ BEGIN " + put("6") + "; BEGIN " + put("7") + "; RAISE EXCEPTION 'swallowed'; EXCEPTION WHEN OTHERS THEN NULL; END; " + put("8") + "; END $$",
		},
		want: []string{"1", "3", "4", "6", "8"},
	},
	{
		name: "ddl",
		seed: true,
		steps: []string{
			"a: BEGIN", "a: " + put("1"),
			"a: ALTER TABLE walpost.outbox ADD COLUMN note text DEFAULT 'n'", "a: " + put("2"),
			"a: ALTER TABLE walpost.outbox DROP COLUMN created_at", "a: " + put("3"),
			"a: ALTER TABLE walpost.outbox RENAME COLUMN headers TO h", "a: " + put("4"),
			"a: ALTER TABLE walpost.outbox ALTER COLUMN payload TYPE text", "a: " + put("5"),
			"a: ALTER TABLE walpost.outbox ALTER COLUMN id TYPE text", "a: COMMIT",
			"a: " + put("6"),
		},
		want: []string{"1", "2", "3", "4", "5", "6"},
	},
	{
		name: "column-gone", // dropped and added again, with a row in between
		steps: []string{
			"a: " + put("1"),
			"a: ALTER TABLE walpost.outbox DROP COLUMN payload",
			"a: INSERT INTO walpost.outbox (id, aggregatetype, type) VALUES (md5('2')::uuid, 'order', 'created')",
			"a: ALTER TABLE walpost.outbox ADD COLUMN payload jsonb", "a: " + put("3"),
		},
		want:    []string{"1"},
		wantErr: `table walpost.outbox: no column "payload" for outbox.columns.payload`,
	},
	{
		name: "renamed",
		setup: []string{
			`CREATE SCHEMA "Shop"`,
			`CREATE TABLE "Shop"."Out Box" ("payload" text, "Key" bigint, "the id" bigint GENERATED ALWAYS AS IDENTITY, kind varchar(20),
				"at" timestamp, body json, subject character(6), target text, shard smallint)`,
		},
		publication: `FOR TABLE "Shop"."Out Box" WITH (publish = 'insert')`,
		table:       schema.Table{Schema: "Shop", Name: "Out Box"},
		mapping: func(m *schema.Mapping) {
			m.Names[schema.ID], m.Names[schema.AggregateID], m.Names[schema.AggregateType] = "the id", "Key", "subject"
			m.Names[schema.Type], m.Names[schema.Payload], m.Names[schema.Headers] = "kind", "body", ""
			m.Names[schema.CreatedAt], m.Names[schema.Timestamp] = "at", "at"
			m.Names[schema.Topic], m.Names[schema.Partition] = "target", "shard"
		},
		steps: []string{
			`a: INSERT INTO "Shop"."Out Box" VALUES ('not this', -7, DEFAULT, 'made', '2026-11-20 01:02:03.5', '{"a" : 1}', 'order', 'orders', 3)`,
			`a: INSERT INTO "Shop"."Out Box" VALUES (NULL, NULL, DEFAULT, NULL, 'infinity', '2', NULL, NULL, NULL)`,
		},
		want: []string{`{"a" : 1}`, "2"},
	},
	{
		name:        "recreated", // a publication of all tables includes the new table
		publication: "FOR ALL TABLES",
		steps: []string{
			"a: " + put("1"),
			"a: ALTER TABLE walpost.outbox RENAME TO old", "a: INSERT INTO walpost.old (id, aggregatetype, type) VALUES (md5('2')::uuid, 'x', 'y')",
			"a: " + outboxDDL, "a: " + put("3"),
			"a: DROP TABLE walpost.outbox", "a: ALTER TABLE walpost.old RENAME TO outbox", "a: " + put("4"),
		},
		want: []string{"1", "3", "4"},
	},
	{
		name:        "truncate",
		seed:        true,
		publication: "FOR TABLE walpost.outbox WITH (publish = 'insert, truncate')",
		steps: []string{
			"a: BEGIN", "a: " + put("1"), "a: TRUNCATE walpost.outbox", "a: " + put("2"), "a: COMMIT",
			"a: TRUNCATE walpost.outbox RESTART IDENTITY CASCADE", "a: " + put("3"),
		},
		want: []string{"1", "2", "3"},
	},
	{
		name:    "messages",
		seed:    true,
		options: []string{"messages", "true"},
		steps: []string{
			"a: SELECT pg_logical_emit_message(false, 'free', 'outside of a transaction')",
			"a: BEGIN", "a: " + put("1"), "a: SELECT pg_logical_emit_message(true, 'bound', 'inside')",
			"a: SELECT pg_logical_emit_message(false, 'free', 'in the middle of one')", "a: " + put("2"), "a: COMMIT",
		},
		want: []string{"1", "2"},
	},
	{
		name: "types",
		seed: true,
		setup: []string{
			"CREATE DOMAIN event_id AS uuid", "CREATE DOMAIN label AS varchar(40) CHECK (VALUE <> '')", "CREATE DOMAIN short_label AS label",
			"CREATE TYPE kind AS ENUM ('created', 'paid')", "CREATE DOMAIN known_kind AS kind NOT NULL", "CREATE DOMAIN document AS jsonb",
			"CREATE TYPE pair AS (l int, r int)",
			`CREATE TABLE walpost.outbox (pair pair, kinds kind[], id event_id, aggregatetype kind, aggregateid short_label, type known_kind,
				payload document, headers jsonb, span int4range, amount numeric)`,
		},
		steps: []string{
			`a: INSERT INTO walpost.outbox VALUES ('(1,2)', '{created,paid}', md5('1')::uuid, 'paid', 'k1', 'created', '{"n": 1}', '{}', '[1,5)', 1.50)`,
			`a: INSERT INTO walpost.outbox VALUES (NULL, NULL, md5('2')::uuid, 'created', NULL, 'paid', NULL, NULL, NULL, NULL)`,
		},
		want: []string{`{"n": 1}`, "NULL"},
	},
	{
		name: "nulls",
		seed: true,
		steps: []string{
			`a: INSERT INTO walpost.outbox VALUES (md5('1')::uuid, '', '', '', '""', '{}')`,
			`a: INSERT INTO walpost.outbox VALUES (md5('2')::uuid, '', NULL, '', NULL, NULL)`,
			`a: INSERT INTO walpost.outbox VALUES (md5('3')::uuid, 'größe', E'tab\t', '🚚', 'null', '{"nul": "\\u0001"}')`,
		},
		want: []string{`""`, "NULL", "null"},
	},
	{
		name: "large", // stored in TOAST, because it does not compress
		steps: []string{
			"a: INSERT INTO walpost.outbox SELECT md5('1')::uuid, 'order', 'k', 'created', to_jsonb(string_agg(md5(n::text), '')) FROM generate_series(1, 6250) n",
			"a: " + put("2"),
		},
		want: []string{"200002 bytes", "2"},
	},
	{
		name:  "empty", // Postgres 14 announces every transaction of the database
		setup: []string{outboxDDL, "CREATE TABLE public.other (n int)"},
		steps: []string{
			"a: INSERT INTO public.other VALUES (1)", "a: " + put("1"), "a: INSERT INTO public.other VALUES (2)",
			"a: BEGIN", "a: INSERT INTO public.other VALUES (3)", "a: " + put("2"), "a: COMMIT", "a: CREATE TABLE public.third ()",
		},
		want: []string{"1", "2"},
	},
	{
		name: "partitioned",
		setup: []string{
			strings.Replace(outboxDDL, "id uuid PRIMARY KEY", "id uuid", 1) + " PARTITION BY HASH (id)",
			"CREATE TABLE walpost.outbox_0 PARTITION OF walpost.outbox FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
			// A partition may have another order of columns than the root.
			`CREATE TABLE walpost.outbox_1 (created_at timestamptz NOT NULL DEFAULT '2026-11-20 12:34:56.789012+00', payload jsonb, headers jsonb,
				type text NOT NULL, aggregateid text, aggregatetype text NOT NULL, id uuid)`,
			"ALTER TABLE walpost.outbox ATTACH PARTITION walpost.outbox_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
		},
		publication: "FOR TABLE walpost.outbox WITH (publish = 'insert', publish_via_partition_root = true)",
		steps: []string{
			"a: BEGIN", "a: " + put("1"), "a: " + put("2"), "a: " + put("3"), "a: " + put("4"), "a: COMMIT",
			"a: ALTER TABLE walpost.outbox DETACH PARTITION walpost.outbox_1", "a: DROP TABLE walpost.outbox_1",
			"a: CREATE TABLE walpost.outbox_1 PARTITION OF walpost.outbox FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
			"a: " + put("5"), "a: " + put("6"),
		},
		want: []string{"1", "2", "3", "4", "5", "6"},
	},
	{
		name:    "binary",
		seed:    true,
		options: []string{"binary", "true"},
		setup: []string{
			"CREATE DOMAIN label AS varchar(40)", "CREATE TYPE kind AS ENUM ('created', 'paid')",
			`CREATE TABLE walpost.outbox (id uuid, aggregatetype label, aggregateid int8, type kind, payload bytea, headers jsonb, created_at timestamptz,
				part int2, n numeric, a int[])`,
		},
		mapping: func(m *schema.Mapping) { m.Names[schema.Partition] = "part" },
		steps: []string{
			`a: INSERT INTO walpost.outbox VALUES (md5('1')::uuid, 'order', -9223372036854775808, 'paid', '\x0001ff', '{"a": 1}', '1999-12-31 23:59:59.999999+00', -1, 1.5, '{1,2}')`,
			`a: INSERT INTO walpost.outbox VALUES (md5('2')::uuid, '', 42, 'created', '', NULL, '-infinity', 7, NULL, NULL)`,
			`a: INSERT INTO walpost.outbox VALUES (md5('3')::uuid, '', NULL, 'created', NULL, '{}', NULL, NULL, NULL, NULL)`,
		},
		want: []string{`\x0001ff`, "", "NULL"},
	},
	{
		name:        "everything", // updates, deletes and other tables in the publication
		setup:       []string{outboxDDL, "CREATE TABLE public.other (n int PRIMARY KEY, t text)", "ALTER TABLE public.other REPLICA IDENTITY FULL"},
		publication: "FOR ALL TABLES",
		steps: []string{
			"a: INSERT INTO public.other SELECT n, 't' FROM generate_series(1, 3) n", "a: " + put("1"),
			"a: INSERT INTO walpost.outbox SELECT md5('2')::uuid, 'order', 'k', 'created', to_jsonb(string_agg(md5(n::text), '')) FROM generate_series(1, 200) n",
			"a: UPDATE walpost.outbox SET type = 'touched'", // the message does not have the long payload, because it is unchanged
			"a: UPDATE walpost.outbox SET id = md5('3')::uuid WHERE aggregateid = 'k1'",
			"a: UPDATE public.other SET t = NULL WHERE n = 1", "a: DELETE FROM public.other WHERE n = 2",
			"a: BEGIN", "a: DELETE FROM walpost.outbox", "a: " + put("4"), "a: COMMIT",
		},
		want: []string{"1", "6402 bytes", "4"},
	},
}

// decoder returns a new decoder for the scenario's table.
func (s scenario) decoder() *Decoder {
	m := schema.DefaultMapping()
	if s.mapping != nil {
		s.mapping(&m)
	}
	if s.table == (schema.Table{}) {
		return New(schema.DefaultTable, m)
	}
	return New(s.table, m)
}
