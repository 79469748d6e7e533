package schema

import (
	"errors"
	"strings"
	"testing"
)

// outboxColumns are the columns of walpost.outbox.
func outboxColumns() []TableColumn {
	return []TableColumn{
		{"id", 2950, "uuid"},
		{"aggregatetype", 25, "text"},
		{"aggregateid", 25, "text"},
		{"type", 25, "text"},
		{"payload", 3802, "jsonb"},
		{"headers", 3802, "jsonb"},
		{"created_at", 1184, "timestamp with time zone"},
	}
}

// explicit maps one more column, like a configuration that names it.
func explicit(m Mapping, c Column, name string) Mapping {
	m.Names[c], m.Explicit[c] = name, true
	return m
}

// with returns outboxColumns with one column's type replaced.
func with(name string, oid uint32, typ string) []TableColumn {
	cols := outboxColumns()
	for i := range cols {
		if cols[i].Name == name {
			cols[i].OID, cols[i].Type = oid, typ
			return cols
		}
	}
	return append(cols, TableColumn{name, oid, typ})
}

// types are all types that an outbox column may have, by the columns that accept them.
var types = []struct {
	oid     uint32
	name    string
	accepts string
}{
	{2950, "uuid", "id aggregateid"},
	{25, "text", "id aggregatetype aggregateid type payload topic"},
	{1043, "character varying(255)", "id aggregatetype aggregateid type payload topic"},
	{1042, "character(8)", "id aggregatetype aggregateid type payload topic"},
	{19, "name", "id aggregatetype aggregateid type payload topic"},
	{21, "smallint", "id aggregateid partition"},
	{23, "integer", "id aggregateid partition"},
	{20, "bigint", "id aggregateid partition"},
	{17, "bytea", "aggregateid payload"},
	{114, "json", "payload headers"},
	{3802, "jsonb", "payload headers"},
	{1184, "timestamp with time zone", "created_at timestamp"},
	{1114, "timestamp without time zone", "created_at timestamp"},
	{1700, "numeric", ""},
	{16, "boolean", ""},
	{1009, "text[]", ""},
	{2249, "record", ""},
	{0, "text", ""},
	// Types of users: enums and types of extensions are read as text, domains by the name of their base type, as in the stream's Type
	// message.
	{16400, "mood", "id aggregatetype aggregateid type payload topic"},
	{16400, "shop.mood", "id aggregatetype aggregateid type payload topic"},
	{16400, "citext", "id aggregatetype aggregateid type payload topic"},
	{16400, "varchar", "id aggregatetype aggregateid type payload topic"},
	{16400, "uuid", "id aggregateid"},
	{16400, "int8", "id aggregateid partition"},
	{16400, "jsonb", "payload headers"},
	{16400, "timestamptz", "created_at timestamp"},
	{16400, "timestamp(3) with time zone", "created_at timestamp"},
	{16400, "pg_catalog.bytea", "aggregateid payload"},
	{16400, "numeric", ""},
	{16400, "bool", ""},
	{16400, "_text", ""},
	{16400, "shop.mood[]", ""},
}

func TestEveryColumnTakesItsTypes(t *testing.T) {
	for _, typ := range types {
		for c := ID; c < NumColumns; c++ {
			m := explicit(DefaultMapping(), c, c.String())
			_, err := m.Plan(DefaultTable, with(c.String(), typ.oid, typ.name))
			accepts := strings.Contains(" "+typ.accepts+" ", " "+c.String()+" ")
			if accepts && err != nil {
				t.Errorf("%s of type %s (%d): %v", c, typ.name, typ.oid, err)
			}
			if accepts {
				continue
			}
			if err == nil {
				t.Errorf("%s of type %s (%d) is accepted", c, typ.name, typ.oid)
				continue
			}
			for _, fact := range []string{"walpost.outbox", `"` + c.String() + `"`, typ.name, wanted[c], "outbox.columns." + c.String()} {
				if !strings.Contains(err.Error(), fact) {
					t.Errorf("%s of type %s: the error does not say %s: %v", c, typ.name, fact, err)
				}
			}
		}
	}
}

func TestMissingColumns(t *testing.T) {
	without := func(name string) []TableColumn {
		var cols []TableColumn
		for _, c := range outboxColumns() {
			if c.Name != name {
				cols = append(cols, c)
			}
		}
		return cols
	}
	for c := ID; c < NumColumns; c++ {
		_, err := DefaultMapping().Plan(DefaultTable, without(c.String()))
		if (err != nil) != c.Required() {
			t.Errorf("a table without %s: %v, required: %v", c, err, c.Required())
		}
		_, err = explicit(DefaultMapping(), c, c.String()).Plan(DefaultTable, without(c.String()))
		if err == nil || !strings.Contains(err.Error(), `no column "`+c.String()+`"`) {
			t.Errorf("a table without the %s that the configuration names: %v", c, err)
		}
		_, err = explicit(DefaultMapping(), c, "").Plan(DefaultTable, outboxColumns())
		if (err != nil) != c.Required() {
			t.Errorf("%s mapped to no column: %v, required: %v", c, err, c.Required())
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	m := explicit(DefaultMapping(), Topic, "topik")
	_, err := m.Plan(Table{"shop", "Events"}, []TableColumn{
		{"ID", 2950, "uuid"}, {"aggregatetype", 25, "text"}, {"aggregateid", 1700, "numeric(10,0)"}, {"topic", 25, "text"}, {"payload", 25, "text"},
	})
	var first *ColumnError
	if !errors.As(err, &first) || first.Column != ID || first.Near != "ID" {
		t.Fatalf("the first problem is %+v, want the id, near ID", first)
	}
	want := `table shop."Events": no column "id" for outbox.columns.id, wanted uuid, text or integer; did you mean "ID"?
table shop."Events": column "aggregateid" is numeric(10,0), wanted text, uuid, integer or bytea: name another by outbox.columns.aggregateid, or alter its type
table shop."Events": no column "type" for outbox.columns.type, wanted text: name another by outbox.columns.type, or add it
table shop."Events": no column "topik" for outbox.columns.topic, wanted text; did you mean "topic"?`
	if err.Error() != want {
		t.Errorf("the error is\n%v\nwant\n%s", err, want)
	}
}

func TestDefaultNames(t *testing.T) {
	m := DefaultMapping()
	if !m.DefaultNames() {
		t.Error("the default mapping has no default names")
	}
	if m := explicit(m, Topic, "topic"); !m.DefaultNames() {
		t.Error("a topic column keeps publish() from the table, and it does not write one")
	}
	for c := ID; c <= Headers; c++ {
		if explicit(m, c, "other").DefaultNames() {
			t.Errorf("%s is renamed, and the names count as default", c)
		}
	}
}

func TestColumnKeys(t *testing.T) {
	for c := ID; c < NumColumns; c++ {
		if got, ok := ParseColumn(c.String()); !ok || got != c {
			t.Errorf("%s is read back as %v, %v", c, got, ok)
		}
	}
	if _, ok := ParseColumn("ID"); ok {
		t.Error("ID is a key, and keys are lower case")
	}
	if NumColumns.String() != "no column" {
		t.Errorf("NumColumns is called %s", NumColumns)
	}
}
