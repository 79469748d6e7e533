package schema

import (
	"fmt"
	"strings"
)

// check is a CHECK constraint by which an outbox refuses a row that walpost could not publish: the service's own insert fails then, and not
// the relay.
type check struct {
	name      string
	column    string // whose values it judges
	optional  bool   // the table need not have that column
	condition string // SQL
	about     string // what it asks, for a comment
}

// longestAggregateType leaves room for what else is in a topic's name.
const longestAggregateType = 200

// checks lists the constraints of an outbox. It holds them to what every relay refuses: a row that names its topic itself may have any
// aggregatetype. The casts are for tables that walpost did not create, where headers may be json and aggregatetype an enum.
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

// ddl returns the constraint as a table's definition has it.
func (c check) ddl() string { return fmt.Sprintf("constraint %s check (%s)", c.name, c.condition) }

// add returns the command that adds the constraint to a table with rows, which are not looked at.
func (c check) add(t Table) string { return fmt.Sprintf("alter table %s add %s not valid", t, c.ddl()) }

// ChecksScript returns, as text like that of [Script], the CHECK constraints for an outbox that is there already. They hold for rows that are
// inserted from then on; those that are there are not looked at. A table without headers gets none for them. Schema walpost must be
// there. Running it again changes nothing.
func ChecksScript(o Options) string {
	o = o.WithDefaults()
	var b strings.Builder
	fmt.Fprintf(&b, "-- walpost: constraints for an outbox that is there already, version %d. Made by: walpost schema print with --checks\n", Version)
	b.WriteString("-- They make an insert fail that walpost could not publish. Rows that are there already are not looked at. To check them too, run\n")
	b.WriteString("-- alter table with validate constraint afterwards. Every statement may run again.\n")
	for _, s := range o.checkStatements() {
		b.WriteString("\n" + s.SQL + ";\n")
	}
	return b.String()
}

// checkStatements returns the commands of ChecksScript.
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
