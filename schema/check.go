package schema

import (
	"fmt"
	"strings"
)

// check is a CHECK constraint that makes an outbox refuse a row that walpost could not publish. Then the service's own insert fails, and
// not the relay.
type check struct {
	name      string
	column    string // the column that it checks
	optional  bool   // the table need not have that column
	condition string // SQL
	about     string // what it requires, for a comment
}

// longestAggregateType leaves room for the other parts of a topic's name.
const longestAggregateType = 200

// checks lists the constraints of an outbox. They refuse only rows that every relay would refuse. So a row that names its topic itself may
// have any aggregatetype. The casts are for tables that walpost did not create, where headers may be json and aggregatetype an enum.
func (o Options) checks() []check {
	var list []check
	if name := o.Mapping.Names[Headers]; name != "" {
		column := QuoteIdent(name)
		list = append(list, check{"walpost_headers", name, true,
			fmt.Sprintf("%s is null or pg_catalog.jsonb_typeof(cast(%[1]s as jsonb)) = 'object'", column),
			"The headers of an event are a JSON object, or there are none."})
	}
	if longest := o.Topic.room(AggregateType, longestAggregateType); longest > 0 {
		name := o.Mapping.Names[AggregateType]
		column := QuoteIdent(name)
		condition := fmt.Sprintf(`%s is not null and cast(%[1]s as text) collate "C" ~ '^[A-Za-z0-9._-]{1,%d}$'`, column, longest)
		if topic := o.Mapping.Names[Topic]; topic != "" {
			condition = fmt.Sprintf("%s is not null or %s", QuoteIdent(topic), condition)
		}
		list = append(list, check{"walpost_aggregatetype", name, false, condition,
			fmt.Sprintf("The aggregatetype is part of a topic name, so it has 1 to %d letters, digits, dots, underscores and minuses.", longest)})
	}
	return list
}

// ddl returns the constraint in the form of a table's definition.
func (c check) ddl() string { return fmt.Sprintf("constraint %s check (%s)", c.name, c.condition) }

// add returns the command that adds the constraint to a table. Existing rows are not checked.
func (c check) add(t Table) string { return fmt.Sprintf("alter table %s add %s not valid", t, c.ddl()) }

// ChecksScript returns a script, like that of [Script], with the CHECK constraints for an existing outbox. They apply to rows that are
// inserted afterwards; existing rows are not checked. A table without a headers column gets no constraint for it. Schema walpost must
// exist. Running the script again changes nothing.
func ChecksScript(o Options) string {
	o = o.WithDefaults()
	var b strings.Builder
	fmt.Fprintf(&b, "-- walpost: constraints for an existing outbox, version %d. Made by: walpost schema print with --checks\n", Version)
	b.WriteString("-- They make an insert fail if walpost could not publish the row. They do not check existing rows. To check those too, run\n")
	b.WriteString("-- alter table with validate constraint afterwards. You can run every statement again.\n")
	for _, s := range o.checkStatements() {
		b.WriteString("\n" + s.SQL + ";\n")
	}
	return b.String()
}

// checkStatements returns the commands for ChecksScript.
func (o Options) checkStatements() []Statement {
	var list []Statement
	for _, c := range o.checks() {
		there := ""
		if c.optional {
			there = fmt.Sprintf("exists (\n  select from pg_catalog.pg_attribute where attrelid = cast(%s as regclass) and attname = %s and not attisdropped\n) and ",
				QuoteLiteral(o.Table.String()), QuoteLiteral(c.column))
		}
		list = append(list, o.file("check.sql", "constraint "+c.name, "", tokens{
			"about": c.about, "add": c.add(o.Table), "there": there, "outbox_name": QuoteLiteral(o.Table.String()), "name": QuoteLiteral(c.name),
		})...)
	}
	return list
}
