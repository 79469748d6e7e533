package relay

import (
	"encoding/binary"

	"walpost/relay/internal/frame"
)

// The messages of a stream of the default outbox.

const outboxOID = 16400

var outboxColumns = []struct {
	name string
	oid  uint32
}{{"id", 2950}, {"aggregatetype", 25}, {"aggregateid", 25}, {"type", 25}, {"payload", 3802}, {"headers", 3802}, {"created_at", 1184}}

func relationFrame() []byte {
	be := binary.BigEndian
	b := be.AppendUint32([]byte{'R'}, outboxOID)
	b = append(b, "walpost\x00outbox\x00d"...)
	b = be.AppendUint16(b, uint16(len(outboxColumns)))
	for _, c := range outboxColumns {
		b = append(append(append(b, 0), c.name...), 0)
		b = be.AppendUint32(be.AppendUint32(b, c.oid), 0xFFFFFFFF)
	}
	return frame.WAL(b)
}

func insertMessage(payload string) []byte {
	be := binary.BigEndian
	b := be.AppendUint32([]byte{'I'}, outboxOID)
	b = be.AppendUint16(append(b, 'N'), uint16(len(outboxColumns)))
	for _, v := range []string{"0189f7f0-1f2c-7c3e-8e5c-000000000001", "order", "12345", "placed", payload, "", "2026-11-21 03:40:25.409899+00"} {
		if v == "" {
			b = append(b, 'n')
			continue
		}
		b = append(be.AppendUint32(append(b, 't'), uint32(len(v))), v...)
	}
	return b
}

func insertFrame(payload string) []byte { return frame.WAL(insertMessage(payload)) }

func beginFrame(lsn uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'B'}, lsn)
	return frame.WAL(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, 0), uint32(lsn)))
}

func commitFrame(lsn, end uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'C', 0}, lsn)
	return frame.WAL(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, end), 0))
}
