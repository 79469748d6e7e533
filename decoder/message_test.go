package decoder

import (
	"encoding/binary"

	"github.com/jackc/pglogrepl"

	"walpost/schema"
)

// message builds pgoutput messages, for tests that need messages that no server sends.
type message []byte

func (m message) u8(v uint8) message    { return append(m, v) }
func (m message) u16(v uint16) message  { return binary.BigEndian.AppendUint16(m, v) }
func (m message) u32(v uint32) message  { return binary.BigEndian.AppendUint32(m, v) }
func (m message) u64(v uint64) message  { return binary.BigEndian.AppendUint64(m, v) }
func (m message) text(s string) message { return append(append(m, s...), 0) }
func (m message) raw(s string) message  { return append(m, s...) }

// value appends a column of a row.
func (m message) value(format byte, s string) message {
	return m.u8(format).u32(uint32(len(s))).raw(s)
}

const (
	outboxOID = 16400
	otherOID  = 16500
	textOID   = 25
	jsonbOID  = 3802
	uuidOID   = 2950
)

func begin(lsn pglogrepl.LSN, micros int64, xid uint32) message {
	return message("B").u64(uint64(lsn)).u64(uint64(micros)).u32(xid)
}

func commit(lsn, end pglogrepl.LSN) message {
	return message("C").u8(0).u64(uint64(lsn)).u64(uint64(end)).u64(0)
}

type column struct {
	name string
	oid  uint32
}

// plain are the columns of a minimal outbox.
var plain = []column{{"id", uuidOID}, {"aggregatetype", textOID}, {"aggregateid", textOID}, {"type", textOID}, {"payload", jsonbOID}}

func relationMessage(oid uint32, namespace, name string, columns ...column) message {
	m := message("R").u32(oid).text(namespace).text(name).u8('d').u16(uint16(len(columns)))
	for _, c := range columns {
		m = m.u8(0).text(c.name).u32(c.oid).u32(0xffffffff)
	}
	return m
}

func outboxRelation(columns ...column) message {
	return relationMessage(outboxOID, "walpost", "outbox", columns...)
}

// row is an insert; a nil value is NULL.
func row(oid uint32, values ...any) message {
	m := message("I").u32(oid).u8('N').u16(uint16(len(values)))
	for _, v := range values {
		if s, ok := v.(string); ok {
			m = m.value('t', s)
		} else {
			m = m.u8('n')
		}
	}
	return m
}

func plainRow(payload any) message {
	return row(outboxOID, "0194b0c1-1111-7000-8000-000000000001", "order", "42", "created", payload)
}

func newDecoder() *Decoder { return New(schema.DefaultTable, schema.DefaultMapping()) }
