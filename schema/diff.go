package schema

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Difference is one difference between a database and what walpost needs.
type Difference struct {
	Object string `json:"object"` // what differs, such as "table walpost.inbox, column consumer"
	Found  string `json:"found"`
	Wanted string `json:"wanted"`
	Cure   string `json:"cure"` // a command of walpost, an SQL command, or what a person has to decide
}

// String returns the difference as one line.
func (d Difference) String() string {
	return fmt.Sprintf("%s: found %s, wanted %s; cure: %s", d.Object, d.Found, d.Wanted, d.Cure)
}

const absent = "nothing"

// Diff compares a database with o. nil: there is no difference. It ignores additional columns, indexes, functions and grants.
func Diff(o Options, live Live) []Difference {
	o = o.WithDefaults()
	d := differ{o: o, live: live, apply: Command("apply", o.Table)}
	if o.OnlyInbox {
		d.apply = "walpost schema apply --only inbox"
		return d.inbox()
	}
	if !d.version() {
		return d.list
	}
	if live.Version == 0 {
		d.unapplied()
		return d.list
	}
	d.outbox()
	d.tables()
	d.functions()
	d.publication()
	d.roles()
	d.grants()
	return d.list
}

// inbox compares the inbox alone. The database of a consumer has no version. The database may also be that of a relay, with a newer
// version.
func (d *differ) inbox() []Difference {
	if d.live.Version > Version {
		d.version()
		return d.list
	}
	d.tables()
	if _, there := d.live.Tables[Table{Schema: "walpost", Name: "inbox"}]; there {
		d.functions()
		d.grants()
	}
	d.roles()
	return d.list
}

// differ collects differences.
type differ struct {
	o     Options
	live  Live
	apply string // the command that creates missing objects
	list  []Difference
}

// unapplied compares the objects that exist although the schema was never applied. They could make apply fail, or apply would not change
// them.
func (d *differ) unapplied() {
	if _, there := d.live.Tables[d.o.Table]; there {
		d.outbox()
	}
	if d.live.Publication != nil {
		d.publication()
	}
	d.roles()
}

func (d *differ) add(object, found, wanted, cure string) {
	d.list = append(d.list, Difference{object, found, wanted, cure})
}

// version compares the versions, and reports whether it makes sense to compare anything else.
func (d *differ) version() bool {
	wanted := fmt.Sprintf("version %d", Version)
	switch found := d.live.Version; {
	case found == 0:
		d.add("schema walpost", absent, wanted, d.apply)
	case found < Version:
		d.add("schema walpost", fmt.Sprintf("version %d", found), wanted, d.apply)
	case found > Version:
		d.add("schema walpost", fmt.Sprintf("version %d", found), wanted, fmt.Sprintf("run a walpost that knows version %d", found))
		return false
	}
	return true
}

// outbox checks that the outbox's columns can be mapped and that its inserts are in the WAL. For walpost's own table it also checks the
// defaults of columns, and the constraints that refuse rows that walpost could not publish.
func (d *differ) outbox() {
	t, object := d.o.Table, "table "+d.o.Table.String()
	live, ok := d.live.Tables[t]
	switch {
	case !ok:
		d.add(object, absent, "an outbox", d.apply)
		return
	case live.Kind != "r" && live.Kind != "p":
		d.add(object, "something other than a table", "a table or partitioned table", "name another by outbox.table")
		return
	case live.Unlogged:
		d.add(object, "a table that is not in the WAL", "a logged table", fmt.Sprintf("alter table %s set logged", t))
	}
	for _, o := range live.Unstreamed {
		part, wanted := object+", partition "+o.Table.String(), "a table in the WAL"
		if o.Reason == Inherits {
			part, wanted = object+", child "+o.Table.String(), "no such child, because the stream does not have its rows as rows of the outbox"
		}
		d.add(part, o.Reason.String(), wanted, o.Cure(t))
	}
	_, err := d.o.Mapping.Plan(t, live.TableColumns())
	for _, problem := range columnErrors(err) {
		d.column(object, problem)
	}
	if t != DefaultTable {
		return
	}
	for _, c := range d.o.checks() {
		if _, there := live.column(c.column); there && !slices.Contains(live.Checks, c.name) {
			d.add(object+", constraint "+c.name, absent, "check ("+c.condition+")", c.add(t))
		}
	}
	for _, c := range []Column{ID, CreatedAt} {
		name := d.o.Mapping.Names[c]
		if col, ok := live.column(name); ok && col.Default == "" {
			_, fallback, _ := strings.Cut(columnDDL[c], "default ")
			d.add(object+", column "+name, "no default", "a default", alterColumn(t, name, "set default "+fallback))
		}
	}
}

func (d *differ) column(object string, problem *ColumnError) {
	cure := "name another by outbox.columns." + problem.Column.String()
	found := problem.Found
	if found == "" {
		found = absent
		if problem.Near != "" {
			cure += ", perhaps " + problem.Near
		}
	}
	name := problem.Name
	if name == "" {
		name = "for outbox.columns." + problem.Column.String()
	}
	d.add(object+", column "+name, found, problem.Wanted, cure)
}

// columnErrors returns the ColumnErrors that a plan's error joins.
func columnErrors(err error) []*ColumnError {
	var list []*ColumnError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = append(list, columnErrors(e)...)
		}
		return list
	}
	if one := (*ColumnError)(nil); errors.As(err, &one) {
		list = append(list, one)
	}
	return list
}

func (d *differ) tables() {
	for _, t := range d.o.tables() {
		d.table(t)
	}
}

// table compares one of walpost's own tables.
func (d *differ) table(w wantedTable) {
	t := Table{Schema: "walpost", Name: w.name}
	object := "table " + t.String()
	live, ok := d.live.Tables[t]
	if !ok {
		d.add(object, absent, "a table", d.apply)
		return
	}
	if _, ok := live.column("source"); w.name == "inbox" && !ok {
		d.add(object, "the form of version 1, without a column source", "the key (consumer, source, event_id)", InboxUpgrade)
		return
	}
	for _, c := range w.columns {
		found, ok := live.column(c.name)
		name := object + ", column " + c.name
		switch {
		case !ok:
			d.add(name, absent, c.typ, fmt.Sprintf("alter table %s add column %s", t, c.ddl()))
			continue
		case found.Type != c.typ && (c.typ != textC || found.Type != "text" || found.Collation != "C"):
			d.add(name, found.Type, c.typ, alterColumn(t, c.name, "type "+c.typ))
		}
		if c.notNull && !found.NotNull {
			d.add(name, "nulls allowed", "not null", alterColumn(t, c.name, "set not null"))
		}
		if c.fallback != "" && found.Default != c.fallback {
			d.add(name, "default "+cmp.Or(found.Default, "none"), "default "+c.fallback, alterColumn(t, c.name, c.defaultDDL()))
		}
	}
	for _, columns := range w.unique {
		if !slices.ContainsFunc(live.Unique, func(u []string) bool { return slices.Equal(u, columns) }) {
			list := strings.Join(columns, ", ")
			d.add(object, "no unique key ("+list+")", "one", fmt.Sprintf("alter table %s add unique (%s)", t, list))
		}
	}
	for _, name := range w.indexes {
		if !slices.Contains(live.Indexes, name) {
			d.add("index walpost."+name, absent, "an index of "+t.String(), d.apply)
		}
	}
}

func alterColumn(t Table, column, action string) string {
	return fmt.Sprintf("alter table %s alter column %s %s", t, QuoteIdent(column), action)
}

func (c wantedColumn) ddl() string {
	ddl := c.name + " " + c.typ
	if c.notNull {
		ddl += " not null"
	}
	switch c.fallback {
	case "":
	case "identity":
		ddl += " generated always as identity"
	default:
		ddl += " default " + c.fallback
	}
	return ddl
}

func (c wantedColumn) defaultDDL() string {
	if c.fallback == "identity" {
		return "add generated always as identity"
	}
	return "set default " + c.fallback
}
