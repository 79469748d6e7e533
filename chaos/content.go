package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/twmb/franz-go/pkg/kgo"
)

// content returns a hash of everything that a consumer gets of an event: key, value and every header. nil means null.
func content(key, value []byte, headers []kgo.RecordHeader) uint64 {
	h := fnv.New64a()
	put := func(p []byte) {
		length := int64(len(p))
		if p == nil {
			length = -1
		}
		_ = binary.Write(h, binary.BigEndian, length) // a hash returns no error
		h.Write(p)
	}
	put(key)
	put(value)
	// The order of headers is not promised.
	sorted := slices.SortedFunc(slices.Values(headers), func(a, b kgo.RecordHeader) int { return strings.Compare(a.Key, b.Key) })
	for _, one := range sorted {
		if one.Key == "walpost_replay" { // it says how the record came, and not what it is
			continue
		}
		put([]byte(one.Key))
		put(one.Value)
	}
	return h.Sum64()
}

// contentOfRow returns the content that the record of a row must have in profile cloudevents. index is the number of the row in its
// transaction. The server is new, so it is on timeline 1.
func contentOfRow(database string, values map[string][]byte, created time.Time, begin *pglogrepl.BeginMessage, index int) (uint64, error) {
	var headers []kgo.RecordHeader
	add := func(name, value string) { headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(value)}) }
	add("id", string(values["id"]))
	add("ce_specversion", "1.0")
	add("ce_id", string(values["id"]))
	add("ce_source", "/walpost/"+database+"/walpost.outbox")
	add("ce_type", string(values["type"]))
	if key := values["aggregateid"]; key != nil {
		add("ce_subject", string(key))
	}
	add("ce_time", created.Format("2006-01-02T15:04:05.000000Z"))
	add("ce_sequence", fmt.Sprintf("00000001-%016X-%08X", uint64(begin.FinalLSN), index))
	if values["payload"] != nil {
		add("content-type", "application/json")
	}
	var more map[string]string
	if text := values["headers"]; text != nil {
		if err := json.Unmarshal(text, &more); err != nil {
			return 0, err
		}
	}
	for name, value := range more {
		add(name, value)
	}
	return content(values["aggregateid"], values["payload"], headers), nil
}
