package catalog

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/schema"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		execSQL(t, conn, `create schema "S h"; set search_path = "S h"; create type mood as enum ('sad'); create domain d1 as varchar(10);
			create domain d2 as d1; create domain dm as mood; create type pair as (a int, b int); create type span as range (subtype = int);
			create table "T" (gone int, a uuid, b varchar(7), c d2, d mood, e dm, f pair, g mood[], h text[], i span, j numeric(4, 2), "K k" jsonb,
				l timestamptz(3), m int generated always as (1) stored);
			alter table "T" drop column gone; set search_path = public`)
		got, err := Describe(deadline(t), conn, schema.Table{Schema: "S h", Name: "T"})
		if err != nil {
			t.Fatal(err)
		}
		if oid := queryOne[uint32](t, conn, `select '"S h"."T"'::regclass::oid`); got.OID != oid || got.Partitioned {
			t.Errorf("described as %d, partitioned: %v, want %d", got.OID, got.Partitioned, oid)
		}
		mood := queryOne[uint32](t, conn, `select '"S h".mood'::regtype::oid`)
		want := []schema.TableColumn{
			{Name: "a", OID: 2950, Type: "uuid"},
			{Name: "b", OID: 1043, Type: "character varying(7)"},
			{Name: "c", OID: 1043, Type: `"S h".d2 over character varying`},
			{Name: "d", OID: mood, Type: `"S h".mood`},
			{Name: "e", OID: mood, Type: `"S h".dm`},
			{Name: "f", OID: 2276, Type: `"S h".pair`},
			{Name: "g", OID: 2276, Type: `"S h".mood[]`},
			{Name: "h", OID: 1009, Type: "text[]"},
			{Name: "i", OID: 2276, Type: `"S h".span`},
			{Name: "j", OID: 1700, Type: "numeric(4,2)"},
			{Name: "K k", OID: 3802, Type: "jsonb"},
			{Name: "l", OID: 1184, Type: "timestamp(3) with time zone"},
			{Name: "m", OID: 0, Type: "integer and generated, which the stream does not carry"},
		}
		if !slices.Equal(got.Columns, want) {
			t.Errorf("described as\n%v\nwant\n%v", got.Columns, want)
		}
		mapped := func(c schema.Column, name string) error {
			m := schema.Mapping{Names: [schema.NumColumns]string{"a", "b", "c", "d", "K k"}}
			m.Names[c], m.Explicit[c] = name, true
			_, err := m.Plan(schema.Table{Schema: "S h", Name: "T"}, got.Columns)
			return err
		}
		for _, name := range []string{"b", "c", "d", "e"} {
			if err := mapped(schema.Type, name); err != nil {
				t.Errorf("type from column %s: %v", name, err)
			}
		}
		for _, name := range []string{"a", "f", "g", "h", "i", "j", "K k", "l", "m", "n"} {
			if err := mapped(schema.Type, name); err == nil || !strings.Contains(err.Error(), `table "S h"."T": `) {
				t.Errorf("type from column %s: %v, want an error", name, err)
			}
		}
	})
}

// A plan converts values in text and in binary format to the text that Postgres itself gives for the value.
func TestPlanReadsWhatPostgresSends(t *testing.T) {
	t.Parallel()
	const micros = `(extract(epoch from VALUE::timestamptz at time zone 'UTC') * 1000000)::bigint::text`
	values := []struct {
		column schema.Column
		typ    string
		texts  []string
		want   string // an expression of VALUE
	}{
		{schema.ID, "uuid", []string{"0d962b1e-5452-4e3b-a55e-4f6f4c27e011", "{FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF}"}, `VALUE::text`},
		{schema.ID, "smallint", []string{"-32768", "0", "32767"}, `VALUE::text`},
		{schema.ID, "integer", []string{"-2147483648", "7", "2147483647"}, `VALUE::text`},
		{schema.ID, "bigint", []string{"-9223372036854775808", "-1", "9223372036854775807"}, `VALUE::text`},
		{schema.AggregateID, "character(5)", []string{"ab", ""}, `rpad(VALUE::text, 5)`},
		{schema.AggregateID, "name", []string{"ab", ""}, `VALUE::text`},
		{schema.Type, "mood", []string{"sad", "überfroh"}, `VALUE::text`},
		{schema.Type, "short", []string{"", "zwölf"}, `VALUE::text`},
		{schema.Payload, "jsonb", []string{`{"b": 1, "a": "ü"}`, "null"}, `VALUE::text`},
		{schema.Payload, "json", []string{`{"b":1,  "a":"ü"}`, "null"}, `VALUE::text`},
		{schema.CreatedAt, "timestamptz", []string{"2026-11-20 12:34:56.789012+05:30", "1969-12-31 23:59:59.999999Z", "0001-01-01 00:00:00Z",
			"9999-12-31 23:59:59.999999Z", "1883-11-18 12:03:57-04:56:02", "2024-02-29 12:00:00Z"}, micros},
		{schema.Timestamp, "timestamp", []string{"2026-11-20 12:34:56.7", "1600-02-29 00:00:00"}, `(extract(epoch from VALUE) * 1000000)::bigint::text`},
		{schema.CreatedAt, "timestamptz", []string{"infinity", "-infinity", "4713-01-01 00:00:00 BC", "10000-01-01 00:00:00Z", "0001-12-31 00:00:00Z BC"},
			`'` + fmt.Sprint(int64(schema.NoTime)) + `'`},
	}
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		execSQL(t, conn, `create type mood as enum ('sad', 'überfroh'); create domain short as varchar(10)`)
		for _, zone := range []string{"UTC", "Asia/Kolkata", "America/New_York", "Europe/Amsterdam"} {
			execSQL(t, conn, "set timezone = '"+zone+"'")
			for _, v := range values {
				table := schema.Table{Schema: "public", Name: "sample"}
				execSQL(t, conn, "drop table if exists sample; create table sample (v "+v.typ+")")
				described, err := Describe(deadline(t), conn, table)
				if err != nil {
					t.Fatal(err)
				}
				plan := onlyColumn(t, table, v.column, described.Columns[0])
				for _, text := range v.texts {
					value := schema.QuoteLiteral(text) + "::" + v.typ
					want := queryOne[string](t, conn, "select "+strings.ReplaceAll(v.want, "VALUE", value))
					for _, format := range []schema.Format{schema.TextFormat, schema.BinaryFormat} {
						sent := sentAs(t, conn, "select "+value, format)
						if got := readBy(t, plan, v.column, format, sent); got != want {
							t.Errorf("%s %q in %s, format %c: sent %q, read %s, want %s", v.typ, text, zone, format, sent, got, want)
						}
					}
				}
			}
		}
	})
}

func TestPlanReadsBytea(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.New(t))
	raw := make([]byte, 0, 512)
	for i := range 512 {
		raw = append(raw, byte(i*i))
	}
	table := schema.Table{Schema: "public", Name: "sample"}
	plan := onlyColumn(t, table, schema.Payload, schema.TableColumn{Name: "v", OID: 17, Type: "bytea"})
	for _, output := range []string{"hex", "escape"} {
		execSQL(t, conn, "set bytea_output = "+output)
		for _, n := range []int{0, 1, 2, 256, 512} {
			for _, format := range []schema.Format{schema.TextFormat, schema.BinaryFormat} {
				sent := sentAs(t, conn, fmt.Sprintf(`select '\x%x'::bytea`, raw[:n]), format)
				if got := readBy(t, plan, schema.Payload, format, sent); got != string(raw[:n]) {
					t.Errorf("%d bytes, %s, format %c: read %q", n, output, format, got)
				}
			}
		}
	}
}

// onlyColumn returns a plan for a table with the column, after the other columns that a plan needs.
func onlyColumn(t *testing.T, table schema.Table, c schema.Column, col schema.TableColumn) *schema.Plan {
	t.Helper()
	m := schema.DefaultMapping()
	m.Names[c] = "v"
	cols := []schema.TableColumn{col}
	for other := schema.ID; other <= schema.Payload; other++ {
		if other != c {
			cols = append(cols, schema.TableColumn{Name: other.String(), OID: 25, Type: "text"})
		}
	}
	plan, err := m.Plan(table, cols)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// sentAs returns the only value of a query as the server sends it.
func sentAs(t *testing.T, conn *pgx.Conn, sql string, format schema.Format) []byte {
	t.Helper()
	code := int16(0)
	if format == schema.BinaryFormat {
		code = 1
	}
	result := conn.PgConn().ExecParams(deadline(t), sql, nil, nil, nil, []int16{code}).Read()
	if result.Err != nil || len(result.Rows) != 1 {
		t.Fatalf("%v: %s", result.Err, sql)
	}
	return bytes.Clone(result.Rows[0][0])
}

func readBy(t *testing.T, plan *schema.Plan, c schema.Column, format schema.Format, sent []byte) string {
	t.Helper()
	ev := &schema.Event{}
	plan.Reset(ev)
	if err := plan.Set(ev, 0, format, sent); err != nil {
		t.Errorf("%s, format %c, %q: %v", c, format, sent, err)
	}
	switch c {
	case schema.CreatedAt:
		return fmt.Sprint(ev.CreatedAt)
	case schema.Timestamp:
		return fmt.Sprint(ev.Timestamp)
	}
	return string(ev.Values[c])
}
