package decoder

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"walpost/schema"
)

func without(name string) []column {
	var left []column
	for _, c := range plain {
		if c.name != name {
			left = append(left, c)
		}
	}
	return left
}

func TestRelationIsTold(t *testing.T) {
	d := newDecoder()
	first, ok := feed(t, d, outboxRelation(plain...))[0].(*Relation)
	if !ok {
		t.Fatal("the outbox's first announcement gives no Relation")
	}
	want := &Relation{OID: outboxOID, Columns: []schema.TableColumn{
		{Name: "id", OID: uuidOID, Type: "uuid"},
		{Name: "aggregatetype", OID: textOID, Type: "text"},
		{Name: "aggregateid", OID: textOID, Type: "text"},
		{Name: "type", OID: textOID, Type: "text"},
		{Name: "payload", OID: jsonbOID, Type: "jsonb"},
	}}
	if !reflect.DeepEqual(first, want) {
		t.Errorf("relation %+v, want %+v", first, want)
	}
	if c := feed(t, d, outboxRelation(plain...))[0]; c != nil {
		t.Errorf("the same shape again: %+v, want nothing", c)
	}
	for what, m := range map[string]message{
		"another table":    relationMessage(otherOID, "walpost", "outbox_2026", plain...),
		"another schema":   relationMessage(otherOID, "public", "outbox", plain...),
		"the name's start": relationMessage(otherOID, "walpost", "out", plain...),
	} {
		if c := feed(t, d, m)[0]; c != nil {
			t.Errorf("%s: %+v, want nothing", what, c)
		}
	}
	if c := feed(t, d, outboxRelation(append(plain[:5:5], column{"note", textOID})...))[0]; c == nil {
		t.Error("a new column is not reported")
	}
	if c := feed(t, d, relationMessage(otherOID, "walpost", "outbox", append(plain[:5:5], column{"note", textOID})...))[0]; c == nil {
		t.Error("a new table with the old name is not reported")
	}
}

// The shape may change inside a transaction. Each row is read with the last shape that was announced before it.
func TestRelationChangesInsideTransaction(t *testing.T) {
	d := newDecoder()
	swapped := []column{{"payload", jsonbOID}, {"note", textOID}, {"type", textOID}, {"aggregateid", textOID}, {"aggregatetype", textOID}, {"id", uuidOID}}
	check := func(c Change, index uint32) {
		t.Helper()
		ev := c.(*Insert).Event
		for col, want := range map[schema.Column]string{schema.ID: "1", schema.AggregateType: "order", schema.Payload: "{}"} {
			if got := string(ev.Values[col]); got != want {
				t.Errorf("row %d: %s is %q, want %q", index, col, got, want)
			}
		}
		if ev.Position.Index != index {
			t.Errorf("row %d has index %d", index, ev.Position.Index)
		}
	}
	feed(t, d, begin(8, 0, 1), outboxRelation(plain...))
	check(feed(t, d, row(outboxOID, "1", "order", "k", "t", "{}"))[0], 0)
	feed(t, d, outboxRelation(swapped...))
	check(feed(t, d, row(outboxOID, "{}", "a note", "t", "k", "order", "1"))[0], 1)
	feed(t, d, outboxRelation(plain...))
	check(feed(t, d, row(outboxOID, "1", "order", "k", "t", "{}"))[0], 2)
}

// The mapping has to fit only shapes that have rows: dropping a column and adding it again between two rows does no harm.
func TestUnfitRelationIsTheRowsError(t *testing.T) {
	for name, columns := range map[string][]column{
		"column gone":     without("payload"),
		"unsuitable type": append(without("payload"), column{"payload", 600}),
	} {
		t.Run(name, func(t *testing.T) {
			d := newDecoder()
			feed(t, d, begin(8, 0, 1))
			told, ok := feed(t, d, outboxRelation(columns...))[0].(*Relation)
			if !ok || told.Err == nil {
				t.Fatalf("the shape is not reported with its error: %+v", told)
			}
			feed(t, d, outboxRelation(plain...), plainRow("{}"))
			feed(t, d, outboxRelation(columns...), commit(8, 16), begin(24, 0, 2))

			_, err := d.Decode(row(outboxOID, "1", "2", "3", "4", "5"))
			var column *schema.ColumnError
			if !errors.As(err, &column) || column.Column != schema.Payload {
				t.Fatalf("row: %v, want the payload column's error", err)
			}
			if !strings.HasPrefix(err.Error(), "decode insert at 0/18: table walpost.outbox: ") {
				t.Errorf("error: %v", err)
			}
			checkPermanent(t, err)
		})
	}
}

// A row counts by the name that its table had at that time: after DROP and CREATE, and after renaming in either direction.
func TestRelationsByName(t *testing.T) {
	isInsert := func(c Change) bool { _, ok := c.(*Insert); return ok }
	d := newDecoder()
	feed(t, d, begin(8, 0, 1), outboxRelation(plain...))
	for _, step := range []struct {
		what     string
		relation message
		oid      uint32
		want     bool
	}{
		{"the outbox", outboxRelation(plain...), outboxOID, true},
		{"a re-created table with that name", relationMessage(otherOID, "walpost", "outbox", plain...), otherOID, true},
		{"the dropped one's last rows", nil, outboxOID, true},
		{"the first one under another name", relationMessage(outboxOID, "walpost", "old", plain...), outboxOID, false},
		{"the second one still", nil, otherOID, true},
		{"the first one renamed back", outboxRelation(plain...), outboxOID, true},
		{"the last one seen, renamed away", relationMessage(outboxOID, "walpost", "old", plain...), outboxOID, false},
	} {
		if step.relation != nil {
			feed(t, d, step.relation)
		}
		if got := isInsert(feed(t, d, row(step.oid, "1", "2", "3", "4", "5"))[0]); got != step.want {
			t.Errorf("%s: insert %t, want %t", step.what, got, step.want)
		}
	}
}

func TestEmptyNamespaceIsPgCatalog(t *testing.T) {
	d := New(schema.Table{Schema: "pg_catalog", Name: "outbox"}, schema.DefaultMapping())
	if c := feed(t, d, relationMessage(outboxOID, "", "outbox", plain...))[0]; c == nil {
		t.Error("a table of pg_catalog is not recognised")
	}
	if c := feed(t, d, relationMessage(outboxOID, "public", "outbox", plain...))[0]; c != nil {
		t.Error("another schema's table is taken for the one of pg_catalog")
	}
}

func TestTypes(t *testing.T) {
	d := newDecoder()
	feed(t, d,
		message("Y").u32(20001).text("").text("jsonb"),       // a domain over jsonb
		message("Y").u32(20002).text("public").text("mood"),  // an enum
		message("Y").u32(20003).text("public").text("jsonb"), // a user's type with that name
		message("Y").u32(20004).text("").text("varchar"),     // a domain over varchar
		message("Y").u32(20005).text("").text("point"),       // a domain that cannot be a payload
		message("Y").u32(20005).text("").text("timestamptz")) // the oid means another type now
	shape := feed(t, d, outboxRelation(
		column{"id", 20004}, column{"aggregatetype", 20002}, column{"aggregateid", textOID}, column{"type", 20002}, column{"payload", 20001},
		column{"created_at", 20005}, column{"x", 20003}, column{"y", 601}))[0].(*Relation)
	if shape.Err != nil {
		t.Errorf("domains and enums are not planned: %v", shape.Err)
	}
	var types []string
	for _, c := range shape.Columns {
		types = append(types, c.Type)
	}
	want := []string{"varchar", "public.mood", "text", "public.mood", "jsonb", "timestamptz", "public.jsonb", "of type oid 601"}
	if !reflect.DeepEqual(types, want) {
		t.Errorf("types %q, want %q", types, want)
	}

	d = newDecoder()
	feed(t, d, message("Y").u32(20005).text("").text("point"))
	shape = feed(t, d, outboxRelation(append(without("payload"), column{"payload", 20005})...))[0].(*Relation)
	if shape.Err == nil || !strings.Contains(shape.Err.Error(), "point") {
		t.Errorf("a domain over point as payload: %v", shape.Err)
	}
}
