package decoder

import (
	"testing"

	"walpost/schema"
)

// present returns the catalog's description of a table with these columns.
func present(columns ...column) (list []schema.TableColumn) {
	for _, c := range columns {
		list = append(list, schema.TableColumn{Name: c.name, OID: c.oid})
	}
	return list
}

func renamed(columns []column, from, to string) (list []column) {
	for _, c := range columns {
		if c.name == from {
			c.name = to
		}
		list = append(list, c)
	}
	return list
}

// The table that is the outbox now also counts as the outbox under its earlier names, until another table has the outbox's name.
func TestFollowTable(t *testing.T) {
	isInsert := func(c Change) bool { _, ok := c.(*Insert); return ok }
	d := newDecoder()
	d.Follow(outboxOID, nil, 0)
	feed(t, d, begin(8, 0, 1))
	for _, step := range []struct {
		what     string
		relation message
		oid      uint32
		want     bool
	}{
		{"under its old name", relationMessage(outboxOID, "app", "events", plain...), outboxOID, true},
		{"under its present name", outboxRelation(plain...), outboxOID, true},
		{"renamed", relationMessage(outboxOID, "walpost", "old", plain...), outboxOID, true},
		{"a third one", relationMessage(otherOID+1, "walpost", "old", plain...), otherOID + 1, false},
		{"another one under its name", relationMessage(otherOID, "walpost", "outbox", plain...), otherOID, true},
		{"renamed, and announced again", relationMessage(outboxOID, "walpost", "old", plain...), outboxOID, false},
		{"the other one", nil, otherOID, true},
		{"the other one renamed, which was never the catalog's", relationMessage(otherOID, "walpost", "gone", plain...), otherOID, false},
	} {
		if step.relation != nil {
			feed(t, d, step.relation)
		}
		if got := isInsert(feed(t, d, row(step.oid, "1", "2", "3", "4", "5"))[0]); got != step.want {
			t.Errorf("%s: insert %t, want %t", step.what, got, step.want)
		}
	}
}

// Rows from before a column was renamed are read with the new name, if the positions identify the columns.
func TestFollowColumns(t *testing.T) {
	const at = 100
	more := append(renamed(plain, "payload", "body"), column{"note", textOID})
	for name, c := range map[string]struct {
		live  []schema.TableColumn
		shape []column
		oid   uint32
		lsn   uint64
		ok    bool
	}{
		"renamed":                       {present(plain...), renamed(plain, "payload", "body"), outboxOID, 8, true},
		"renamed, and one was added":    {present(append(plain[:5:5], column{"note", textOID})...), renamed(plain, "payload", "body"), outboxOID, 8, true},
		"after the catalog was read":    {present(plain...), renamed(plain, "payload", "body"), outboxOID, at, false},
		"another table":                 {present(plain...), renamed(plain, "payload", "body"), otherOID, 8, false},
		"one was dropped":               {nil, renamed(plain, "payload", "body"), outboxOID, 8, false},
		"more than there are":           {present(plain...), more, outboxOID, 8, false},
		"another place":                 {present(plain...), renamed(without("type"), "payload", "body"), outboxOID, 8, false},
		"names that were swapped":       {present(plain...), renamed(renamed(renamed(renamed(plain, "payload", "body"), "type", "t"), "aggregateid", "type"), "t", "aggregateid"), outboxOID, 8, false},
		"a type that no payload can be": {present(plain...), append(without("payload"), column{"body", 600}), outboxOID, 8, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDecoder()
			d.Follow(outboxOID, c.live, at)
			feed(t, d, message("B").u64(c.lsn).u64(0).u32(1))
			told, ok := feed(t, d, relationMessage(c.oid, "walpost", "outbox", c.shape...))[0].(*Relation)
			if !ok || (told.Err == nil) != c.ok {
				t.Fatalf("told %+v", told)
			}
			if !c.ok {
				return
			}
			values := make([]any, len(c.shape))
			for i, col := range c.shape {
				values[i] = "the " + col.name
			}
			if got := string(feed(t, d, row(c.oid, values...))[0].(*Insert).Event.Values[schema.Payload]); got != "the body" {
				t.Errorf("payload %q", got)
			}
		})
	}
}
