package postgres

import (
	"strings"
	"testing"

	"walpost/internal/catalog"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// outbox returns a source of the default outbox, and the table with all its columns.
func outbox() (*Source, catalog.Described) {
	src := NewSource(Config{Slot: "shop", Publication: "walpost", Table: schema.DefaultTable, Mapping: schema.DefaultMapping()})
	var table catalog.Described
	for _, name := range src.Mapping.Names {
		table.Columns = append(table.Columns, schema.TableColumn{Name: name})
	}
	return src, table
}

// TestCheckComplete: a publication that leaves out rows or a mapped column is a fault, with the SQL that cures it.
func TestCheckComplete(t *testing.T) {
	src, table := outbox()
	table.Columns = append(table.Columns, schema.TableColumn{Name: "note"}) // which outbox.columns does not map
	root := table
	root.Partitioned = true
	const whole = "run: BEGIN; ALTER PUBLICATION walpost DROP TABLE walpost.outbox; ALTER PUBLICATION walpost ADD TABLE walpost.outbox; COMMIT"
	for name, c := range map[string]struct {
		p     Publication
		table catalog.Described
		cure  string // "": there is no fault
	}{
		"all rows":           {p: Publication{member: true, inserts: true}},
		"partitions":         {p: Publication{member: true, inserts: true, viaRoot: true}, table: root},
		"mapped columns":     {p: Publication{member: true, inserts: true, listed: src.Mapping.Names[:]}},
		"another table":      {p: Publication{inserts: true}, cure: "run: ALTER PUBLICATION walpost ADD TABLE walpost.outbox"},
		"partitions' names":  {p: Publication{inserts: true}, table: root, cure: "run: ALTER PUBLICATION walpost SET (publish_via_partition_root = true)"},
		"no inserts":         {p: Publication{member: true}, cure: "run: ALTER PUBLICATION walpost SET (publish = 'insert')"},
		"a row filter":       {p: Publication{member: true, inserts: true, filtered: true}, cure: whole},
		"an empty list":      {p: Publication{member: true, inserts: true, listed: []string{}}, cure: whole},
		"a list without ids": {p: Publication{member: true, inserts: true, listed: src.Mapping.Names[1:]}, cure: whole},
	} {
		if c.table.Columns == nil {
			c.table = table
		}
		err := src.checkComplete(&c.p, &c.table)
		if (err != nil) != (c.cure != "") || err != nil && (!pgerror.IsPermanent(err) || !strings.HasSuffix(err.Error(), "; "+c.cure)) {
			t.Errorf("%s: %v, want the cure %q", name, err, c.cure)
		}
	}
}

// TestPublicationSame: a publication that was re-created or altered, or from which the table was removed for a while, is not the same.
func TestPublicationSame(t *testing.T) {
	p := Publication{oid: 1, version: 2, row: 3, inserts: true, member: true}
	for name, c := range map[string]struct {
		o    Publication
		same bool
	}{
		"untouched":     {Publication{oid: 1, version: 2, row: 3, inserts: true, member: true}, true},
		"created again": {Publication{oid: 9, version: 2, row: 3, inserts: true, member: true}, false},
		"altered":       {Publication{oid: 1, version: 9, row: 3, inserts: true, member: true}, false},
		"added again":   {Publication{oid: 1, version: 2, row: 9, inserts: true, member: true}, false},
	} {
		if got := p.same(&c.o); got != c.same {
			t.Errorf("%s: same %v", name, got)
		}
	}
}
