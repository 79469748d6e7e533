package sinktest

import (
	"time"

	"walpost/schema"
	"walpost/sink/recordbatch"
)

const micros = int64(time.Second / time.Microsecond)

// Noon is the time at which tests compose records.
var Noon = time.Date(2030, 3, 1, 12, 0, 0, 123456789, time.UTC)

// Row returns an outbox row with a value in every column of the table.
func Row() *schema.Event {
	ev := &schema.Event{CreatedAt: Noon.UnixMicro() - 2*micros, Timestamp: schema.NoTime, CommitTime: Noon.UnixMicro() - micros,
		Position: schema.Position{Timeline: 0xab, LSN: 0x1_0000_00ff, Index: 3}}
	for c, v := range map[schema.Column]string{schema.ID: "0b51f0a0-9d6c-4b7e-9d5a-000000000001", schema.AggregateType: "orders",
		schema.AggregateID: "order-1", schema.Type: "OrderPlaced", schema.Payload: `{"n":1}`} {
		ev.Values[c] = []byte(v)
	}
	return ev
}

// HeaderLines returns a record's headers in order, as name=value; only the name for a null value.
func HeaderLines(rec *recordbatch.Record) []string {
	var lines []string
	for _, h := range rec.Headers {
		if h.Value == nil {
			lines = append(lines, h.Text())
			continue
		}
		lines = append(lines, h.Text()+"="+string(h.Value))
	}
	return lines
}

// Noise returns n bytes that do not compress.
func Noise(n int) []byte {
	b, x := make([]byte, n), uint32(n)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}
