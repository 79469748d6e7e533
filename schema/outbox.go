package schema

import (
	"fmt"
	"strings"
)

// columnDDL has the definition of each column for an outbox that walpost creates.
var columnDDL = [NumColumns]string{
	ID:            "uuid primary key default gen_random_uuid()",
	AggregateType: "text not null",
	AggregateID:   "text",
	Type:          "text not null",
	Payload:       "jsonb",
	Headers:       "jsonb",
	CreatedAt:     "timestamptz not null default clock_timestamp()",
	Timestamp:     "timestamptz",
	Topic:         "text",
	Partition:     "integer",
}

// outboxTokens returns the definitions of the columns that the mapping names, and of the constraints. A column that two parts of an event
// share is listed once.
func (o Options) outboxTokens() tokens {
	var lines []string
	seen := make(map[string]bool)
	for c, name := range o.Mapping.Names {
		if name == "" || seen[name] {
			continue
		}
		seen[name] = true
		lines = append(lines, fmt.Sprintf("  %-13s %s", QuoteIdent(name), columnDDL[c]))
	}
	for _, c := range o.checks() {
		lines = append(lines, "  "+c.ddl())
	}
	return tokens{"columns": strings.Join(lines, ",\n")}
}

// hasPublish reports whether publish() can write to the outbox: its columns must have the default names, and its id must be able to hold a
// uuid.
func (o Options) hasPublish() bool {
	if !o.Mapping.DefaultNames() {
		return false
	}
	k := o.kindOf(ID)
	return k == kindUUID || k == kindText
}

// column returns the outbox's column for c.
func (o Options) column(c Column) (TableColumn, bool) {
	for _, col := range o.Columns {
		if col.Name == o.Mapping.Names[c] {
			return col, true
		}
	}
	return TableColumn{}, false
}

// kindOf returns the kind of the outbox's column for c, or kindNone if the outbox has no such column.
func (o Options) kindOf(c Column) kind {
	if o.Columns == nil {
		return defaultKinds[c]
	}
	if col, ok := o.column(c); ok {
		return kindOf(col)
	}
	return kindNone
}

// defaultKinds are the kinds of the columns in columnDDL that publish() writes.
var defaultKinds = [NumColumns]kind{
	ID: kindUUID, AggregateType: kindText, AggregateID: kindText, Type: kindText, Payload: kindJSONB, Headers: kindJSONB,
}

// publishTokens returns the texts for the body of publish(), for the types of the outbox's columns. If the table has no headers column, as
// Debezium's tables, publish() refuses headers. It does so with a cast that fails, because a function without a semicolon has no other way
// to report an error.
func (o Options) publishTokens() tokens {
	var names, values []string
	for c := ID; c <= Headers; c++ {
		if k := o.kindOf(c); k != kindNone {
			names = append(names, c.String())
			values = append(values, o.publishValue(c, k))
		}
	}
	condition := ""
	if o.kindOf(Headers) == kindNone {
		refusal := QuoteLiteral("table " + o.Table.String() + " has no column headers")
		condition = "\n    where $5 is null or cast(" + refusal + " || left(cast($5 as text), 0) as boolean)"
	}
	return tokens{"names": strings.Join(names, ", "), "values": strings.Join(values, ", "), "condition": condition}
}

// castTypes are the types to which publish() casts. For a text type this is text without a length: a cast to varchar(10) would truncate the
// value, while an insert refuses it.
var castTypes = map[kind]string{
	kindText: "text", kindUUID: "uuid", kindInt2: "smallint", kindInt4: "integer", kindInt8: "bigint", kindJSON: "json", kindJSONB: "jsonb",
}

// publishValue returns the expression that publish() inserts for c: its parameter, with a conversion where an insert does not convert by
// itself.
func (o Options) publishValue(c Column, k kind) string {
	parameter := fmt.Sprintf("$%d", c)
	if c == ID {
		parameter = "event.id"
	}
	col, there := o.column(c)
	switch {
	case there && k == kindText && col.OID >= firstUserOID: // an enum
		return "cast(" + parameter + " as " + col.Type + ")"
	case k == defaultKinds[c]:
		return parameter
	case k == kindBytea:
		return "convert_to(cast(" + parameter + " as text), 'UTF8')"
	}
	return "cast(" + parameter + " as " + castTypes[k] + ")"
}
