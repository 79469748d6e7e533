package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/twmb/franz-go/pkg/kgo"
)

// content is a number that stands for all that a consumer gets: key, value, position, type and time. nil is null.
func content(parts ...[]byte) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		length := int64(len(p))
		if p == nil {
			length = -1
		}
		_ = binary.Write(h, binary.BigEndian, length) // a hash takes everything
		h.Write(p)
	}
	return h.Sum64()
}

// contentOfRecord is a record's, in profile cloudevents.
func contentOfRecord(r *kgo.Record) uint64 {
	headers := make(map[string][]byte, len(r.Headers))
	for _, h := range r.Headers {
		headers[h.Key] = h.Value
	}
	return content(r.Key, r.Value, headers["ce_sequence"], headers["ce_type"], headers["ce_time"])
}

// contentOfRow is what the record of a row has to be: the index-th that its transaction inserted, on timeline 1, on which a new server is.
// created_at is a text in UTC.
func contentOfRow(values map[string][]byte, begin *pglogrepl.BeginMessage, index int) (uint64, error) {
	at, err := time.Parse("2006-01-02 15:04:05.999999-07", string(values["created_at"]))
	if err != nil {
		return 0, err
	}
	position := fmt.Sprintf("00000001-%016X-%08X", uint64(begin.FinalLSN), index)
	return content(values["aggregateid"], values["payload"], []byte(position), values["type"], []byte(at.Format("2006-01-02T15:04:05.000000Z"))), nil
}
