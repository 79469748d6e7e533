package schema

import "strings"

// kind is how the values of a type are read. Types whose values are read alike share a kind.
type kind uint8

const (
	kindNone kind = iota // a type that no outbox column may have
	kindText
	kindUUID
	kindInt2
	kindInt4
	kindInt8
	kindBytea
	kindJSON
	kindJSONB
	kindTimestamp // with or without time zone: both are microseconds on the wire; without time zone it counts as UTC
)

const (
	integers = 1<<kindInt2 | 1<<kindInt4 | 1<<kindInt8
	jsons    = 1<<kindJSON | 1<<kindJSONB
)

// accepted has the set of kinds that may feed each part of an event.
var accepted = [NumColumns]uint16{
	ID:            1<<kindUUID | 1<<kindText | integers,
	AggregateType: 1 << kindText,
	AggregateID:   1<<kindText | 1<<kindUUID | integers | 1<<kindBytea,
	Type:          1 << kindText,
	Payload:       jsons | 1<<kindText | 1<<kindBytea,
	Headers:       jsons,
	CreatedAt:     1 << kindTimestamp,
	Timestamp:     1 << kindTimestamp,
	Topic:         1 << kindText,
	Partition:     integers,
}

// wanted has the same in words.
var wanted = [NumColumns]string{
	ID:            "uuid, text or integer",
	AggregateType: "text",
	AggregateID:   "text, uuid, integer or bytea",
	Type:          "text",
	Payload:       "jsonb, json, text or bytea",
	Headers:       "jsonb or json",
	CreatedAt:     "timestamp with time zone or timestamp",
	Timestamp:     "timestamp with time zone or timestamp",
	Topic:         "text",
	Partition:     "integer",
}

func (k kind) content() Content {
	switch k {
	case kindText:
		return Text
	case kindBytea:
		return Bytes
	}
	return JSON
}

// firstUserOID is Postgres's FirstNormalObjectId: all objects below it are built in.
const firstUserOID = 16384

// kindOf returns the kind of a column. It identifies a built-in type by its OID. Of a user's type the stream has only an OID and a name.
// For a domain this is the name of its base type. Any other is an enum, or an extension's text type such as citext; their values are text
// in both formats.
func kindOf(col TableColumn) kind {
	if col.OID < firstUserOID {
		return kindByOID[col.OID]
	}
	name := bareType(col.Type)
	if k, ok := kindByName[name]; ok {
		return k
	}
	if unsuited[name] || strings.HasPrefix(name, "_") || strings.HasSuffix(name, "[]") {
		return kindNone
	}
	return kindText
}

// bareType removes the length or precision from a type's name, and the schema pg_catalog.
func bareType(name string) string {
	if open, end := strings.IndexByte(name, '('), strings.IndexByte(name, ')'); open >= 0 && end > open {
		name = strings.TrimSpace(name[:open]) + name[end+1:]
	}
	return strings.TrimPrefix(name, "pg_catalog.")
}

// kindByOID has the OIDs of src/include/catalog/pg_type.dat in Postgres, which never change.
var kindByOID = map[uint32]kind{
	17:   kindBytea,
	19:   kindText, // name
	20:   kindInt8,
	21:   kindInt2,
	23:   kindInt4,
	25:   kindText,
	114:  kindJSON,
	1042: kindText, // bpchar, SQL's character(n)
	1043: kindText, // varchar
	1114: kindTimestamp,
	1184: kindTimestamp, // timestamptz
	2950: kindUUID,
	3802: kindJSONB,
}

// kindByName has the names in pg_type, and the names that format_type prints for the same types.
var kindByName = map[string]kind{
	"text":                        kindText,
	"varchar":                     kindText,
	"character varying":           kindText,
	"bpchar":                      kindText,
	"character":                   kindText,
	"name":                        kindText,
	"uuid":                        kindUUID,
	"int2":                        kindInt2,
	"smallint":                    kindInt2,
	"int4":                        kindInt4,
	"integer":                     kindInt4,
	"int8":                        kindInt8,
	"bigint":                      kindInt8,
	"bytea":                       kindBytea,
	"json":                        kindJSON,
	"jsonb":                       kindJSONB,
	"timestamp":                   kindTimestamp,
	"timestamp without time zone": kindTimestamp,
	"timestamptz":                 kindTimestamp,
	"timestamp with time zone":    kindTimestamp,
}

// unsuited has the built-in types that may be the base of a domain and must not be mistaken for enums.
var unsuited = wordSet(`
	bool boolean numeric decimal float4 real float8 money date time timetz interval oid xml bit varbit inet cidr macaddr macaddr8
	point lseg path box polygon line circle tsvector tsquery jsonpath xid xid8 cid tid pg_lsn regclass regtype regproc regrole
	regnamespace int4range int8range numrange tsrange tstzrange daterange int4multirange int8multirange nummultirange tsmultirange
	tstzmultirange datemultirange`)
