package decoder

import "strconv"

// typeName is what a Type message says of an oid.
type typeName struct{ namespace, name string }

// decodeType remembers a type that is not built in. The message precedes the relation that uses it. For a domain it carries the
// domain's oid and the name of the *base* type, whose namespace is empty when that is pg_catalog.
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

// typeOf returns the name by which a plan knows a column's type. One that is not Postgres's own keeps its namespace, so that an enum
// somebody called "text" is not taken for text.
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

// builtins are types that people are likely to have in an outbox, suitable or not, as format_type prints them: the stream has only the
// oid of a type of Postgres's own (pg_type.dat), and an error should be able to name it.
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
