package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// functions compares the functions with their bodies: publish() may be left from another outbox.
func (d *differ) functions() {
	for _, w := range wantedFunctions {
		if d.o.OnlyInbox && !w.ofInbox() {
			continue
		}
		object := fmt.Sprintf("function walpost.%s(%s)", w.name, w.arguments)
		found, ok := d.live.function(w.name, w.arguments)
		if w.name == "publish" && !d.o.hasPublish() {
			if ok {
				d.add(object, "one", "none, because it does not know the outbox's columns", d.apply)
			}
			continue
		}
		switch {
		case !ok:
			d.add(object, absent, "a function", d.apply)
		case found.Result != w.result:
			d.add(object, "one that returns "+found.Result, "one that returns "+w.result, "drop "+object+", then "+d.apply)
		case found.Definer:
			d.add(object, "security definer", "security invoker", "alter "+object+" security invoker")
		case normalizeSpace(found.Body) != normalizeSpace(d.o.body(w)):
			d.add(object, "another body", d.wantedBody(), d.apply)
		}
	}
}

func (d *differ) wantedBody() string {
	if d.o.OnlyInbox {
		return fmt.Sprintf("that of version %d", Version)
	}
	return fmt.Sprintf("that of version %d for %s", Version, d.o.Table)
}

// body returns the function's body in the DDL, which is between the dollar quotes.
func (o Options) body(w wantedFunction) string {
	if w.name == "schema_version" { // a function makes it, see version.sql
		return "select " + strconv.Itoa(Version)
	}
	for _, s := range Statements(o) {
		if strings.Contains(s.SQL, "function walpost."+w.name+"("+w.parameters+")") && strings.Contains(s.SQL, "$$") {
			return strings.Split(s.SQL, "$$")[1]
		}
	}
	return ""
}

// normalizeSpace removes differences in white space, which a migration tool may change.
func normalizeSpace(s string) string { return strings.Join(strings.Fields(s), " ") }

// publication compares the publication, which decides what the stream contains.
func (d *differ) publication() {
	object, name := "publication "+d.o.Publication, QuoteIdent(d.o.Publication)
	p := d.live.Publication
	if p == nil {
		d.add(object, absent, "a publication", PublicationSQL(d.o))
		return
	}
	table, ok := d.live.Tables[d.o.Table]
	if ok && !p.Member {
		d.add(object, "no table "+d.o.Table.String(), "the outbox", fmt.Sprintf("alter publication %s add table %s", name, d.o.Table))
	}
	if !p.Insert || p.Update || p.Delete || p.Truncate {
		d.add(object, fmt.Sprintf("publish = '%s'", p.operations()), "publish = 'insert'",
			fmt.Sprintf("alter publication %s set (publish = 'insert'), unless something else uses the publication", name))
	}
	if table.Kind == "p" && !p.ViaRoot {
		d.add(object, "publish_via_partition_root = false", "true, because the outbox is partitioned",
			fmt.Sprintf("alter publication %s set (publish_via_partition_root = true)", name))
	}
	if p.Filter != "" {
		d.add(object, "the row filter "+p.Filter, "every row of the outbox",
			fmt.Sprintf("alter publication %s drop table %s, then add it without a filter", name, d.o.Table))
	}
	d.publishedColumns(object, p, table)
}

// publishedColumns finds a column list that leaves out a mapped column.
func (d *differ) publishedColumns(object string, p *LivePublication, table LiveTable) {
	if p.Columns == nil {
		return
	}
	for _, column := range d.o.Mapping.Names {
		if _, ok := table.column(column); ok && !slices.Contains(p.Columns, column) {
			d.add(object, "a column list without "+column, "all mapped columns",
				fmt.Sprintf("alter publication %s drop table %s, then add it without a list", QuoteIdent(d.o.Publication), d.o.Table))
		}
	}
}

func (p *LivePublication) operations() string {
	var list []string
	for name, published := range map[string]bool{"insert": p.Insert, "update": p.Update, "delete": p.Delete, "truncate": p.Truncate} {
		if published {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// roles compares the roles that o names.
func (d *differ) roles() {
	for _, name := range []string{d.o.AppRole, d.o.RelayRole} {
		if name != "" && !d.live.Roles[name].Exists {
			d.add("role "+name, absent, "a role", fmt.Sprintf("create role %s login password '...'", QuoteIdent(name)))
		}
	}
	if relay := d.live.Roles[d.o.RelayRole]; relay.Exists {
		role := QuoteIdent(d.o.RelayRole)
		if !relay.Login {
			d.add("role "+d.o.RelayRole, "no login", "login", fmt.Sprintf("alter role %s login", role))
		}
		if !relay.Replication {
			cure := fmt.Sprintf("alter role %s replication", role)
			if relay.RDS {
				cure = "grant rds_replication to " + role
			}
			d.add("role "+d.o.RelayRole, "no replication", "replication", cure)
		}
		if !relay.Connect {
			d.add("role "+d.o.RelayRole, "no right to connect", "connect", fmt.Sprintf("grant connect on database %s to %s", QuoteIdent(d.live.Database), role))
		}
	}
}

// grants compares the rights of these roles.
func (d *differ) grants() {
	for _, g := range Grants(d.o) {
		if d.live.Roles[g.Role].Exists && !d.live.Grants[g] {
			d.add("role "+g.Role, "no "+g.Privilege+" on "+g.Kind+" "+g.Object, "it",
				fmt.Sprintf("grant %s on %s %s to %s", strings.ToLower(g.Privilege), g.Kind, g.Object, QuoteIdent(g.Role)))
		}
	}
}
