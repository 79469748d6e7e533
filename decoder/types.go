package decoder

import "strconv"

// typeName is the name of a type from a Type message.
type typeName struct{ namespace, name string }

// decodeType stores the name of a type that is not built in. The message comes before the relation that uses the type. For a domain it has
// the domain's oid and the name of the *base* type. The namespace is empty if it is pg_catalog.
func (d *Decoder) decodeType(c *cursor) error {
	oid := c.uint32("oid")
	namespace := c.text("namespace")
	name := c.text("name")
	if err := c.end(); err != nil {
		return err
	}
	d.types[oid] = typeName{string(namespace), string(name)}
	return nil
}

// typeOf returns the name of a column's type, as plans use it. A type that is not built in keeps its namespace, so that an enum with the
// name "text" is not mistaken for text.
func (d *Decoder) typeOf(oid uint32) string {
	if t, announced := d.types[oid]; announced {
		if t.namespace == "" {
			return t.name
		}
		return t.namespace + "." + t.name
	}
	if name, known := builtins[oid]; known {
		return name
	}
	return "of type oid " + strconv.FormatUint(uint64(oid), 10)
}

// builtins has the names, as format_type prints them, of built-in types that are likely in an outbox, suitable or not. The stream has only
// the oid of such a type (pg_type.dat), and errors should show its name.
var builtins = map[uint32]string{
	16:   "boolean",
	17:   "bytea",
	18:   `"char"`,
	19:   "name",
	20:   "bigint",
	21:   "smallint",
	23:   "integer",
	25:   "text",
	26:   "oid",
	114:  "json",
	142:  "xml",
	700:  "real",
	701:  "double precision",
	790:  "money",
	869:  "inet",
	1005: "smallint[]",
	1007: "integer[]",
	1009: "text[]",
	1015: "character varying[]",
	1016: "bigint[]",
	1042: "character",
	1043: "character varying",
	1082: "date",
	1083: "time without time zone",
	1114: "timestamp without time zone",
	1184: "timestamp with time zone",
	1186: "interval",
	1266: "time with time zone",
	1700: "numeric",
	2950: "uuid",
	2951: "uuid[]",
	3802: "jsonb",
	3807: "jsonb[]",
}
