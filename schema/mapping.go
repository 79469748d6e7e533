package schema

import (
	"errors"
	"fmt"
	"slices"
)

// Mapping says which table column feeds which part of an event.
type Mapping struct {
	// Names has the table column for each part of an event; "" for an unmapped part. Two parts may share a table column.
	Names [NumColumns]string

	// Explicit marks the columns that the user named. An optional column with its default name may be absent from the table, but a column
	// that the user named must exist.
	Explicit [NumColumns]bool
}

// DefaultMapping returns the mapping of a configuration that names no column: the columns of walpost.outbox. Debezium's outbox tables have
// the first five of them. Timestamp, topic and partition are unmapped.
func DefaultMapping() Mapping {
	var m Mapping
	for c := ID; c <= CreatedAt; c++ {
		m.Names[c] = c.String()
	}
	return m
}

// DefaultNames reports whether the columns that publish() writes have their default names. publish() can write only to such a table.
func (m Mapping) DefaultNames() bool {
	for c := ID; c <= Headers; c++ {
		if m.Names[c] != c.String() {
			return false
		}
	}
	return true
}

// TableColumn describes a column of a live table, from the catalog or from the stream.
type TableColumn struct {
	Name string

	// OID is the oid of the type, or of the base type if it is a domain. Only the catalog knows the oid of the base type: in the stream, a
	// domain has its own oid and the name of the base type.
	OID uint32

	// Type is the type's name, as format_type prints it or as it is in pg_type.
	Type string
}

// ColumnError says why a table's column cannot feed a part of an event. Only a person can cure it.
type ColumnError struct {
	Table  Table
	Column Column // the part of an event
	Name   string // the table column that should feed it; "" if none is named
	Found  string // its type; "" if the table has no such column
	Wanted string // the types that it may have
	Near   string // a column of the table that may have been meant; "" if none
}

// Error returns a text with the table, the column, the found and wanted types, and the key that maps another column.
func (e *ColumnError) Error() string {
	key := "outbox.columns." + e.Column.String()
	switch {
	case e.Name == "":
		return fmt.Sprintf("table %s: %s names no column, and an outbox needs one: wanted %s", e.Table, key, e.Wanted)
	case e.Found == "" && e.Near != "":
		return fmt.Sprintf("table %s: no column %q for %s, wanted %s; did you mean %q?", e.Table, e.Name, key, e.Wanted, e.Near)
	case e.Found == "":
		return fmt.Sprintf("table %s: no column %q for %s, wanted %s: name another by %[3]s, or add it", e.Table, e.Name, key, e.Wanted)
	}
	return fmt.Sprintf("table %s: column %q is %s, wanted %s: name another by %s, or alter its type",
		e.Table, e.Name, e.Found, e.Wanted, key)
}

// Plan checks the mapping against the columns of table t, and returns a plan for reading its rows. cols are in the order in which the rows
// have them. The error joins one ColumnError for every column that does not fit.
func (m Mapping) Plan(t Table, cols []TableColumn) (*Plan, error) {
	var problems []error
	p := &Plan{table: t, columns: make([]planColumn, len(cols))}
	for i, col := range cols {
		p.columns[i].name = col.Name
	}
	for c := ID; c < NumColumns; c++ {
		i, k, err := m.find(t, cols, c)
		switch {
		case err != nil:
			problems = append(problems, err)
		case i >= 0:
			p.columns[i].steps = append(p.columns[i].steps, step{to: c, kind: k})
			p.kinds[c] = k
		}
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	for i := range p.columns {
		p.columns[i].findPlain()
	}
	p.content = p.kinds[Payload].content()
	return p, nil
}

// find returns the index of the column that feeds c, and its kind. The index is -1 if no column does and none is needed.
func (m Mapping) find(t Table, cols []TableColumn, c Column) (int, kind, error) {
	problem := &ColumnError{Table: t, Column: c, Name: m.Names[c], Wanted: wanted[c]}
	if problem.Name == "" {
		if c.Required() {
			return -1, 0, problem
		}
		return -1, 0, nil
	}
	for i, col := range cols {
		if col.Name != problem.Name {
			continue
		}
		k := kindOf(col)
		if accepted[c]&(1<<k) == 0 {
			problem.Found = col.Type
			return -1, 0, problem
		}
		return i, k, nil
	}
	if !c.Required() && !m.Explicit[c] {
		return -1, 0, nil
	}
	problem.Near = nearest(problem.Name, columnNamesOf(cols))
	return -1, 0, problem
}

func columnNamesOf(cols []TableColumn) []string {
	names := make([]string, len(cols))
	for i, col := range cols {
		names[i] = col.Name
	}
	return names
}

// Mapped returns the columns of a table that feed an event, in the table's order.
func (m *Mapping) Mapped(columns []TableColumn) (mapped []TableColumn) {
	for _, c := range columns {
		if slices.Contains(m.Names[:], c.Name) {
			mapped = append(mapped, c)
		}
	}
	return mapped
}
