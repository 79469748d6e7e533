package schema

import "math"

// Column names a part of an event that a table column can feed.
type Column uint8

// The columns of an outbox, in the order in which the configuration lists them. The first five are required in the table.
const (
	ID            Column = iota // the event's identity: uuid, text or integer
	AggregateType               // the kind of thing that the event is about; the default topic contains it
	AggregateID                 // the record's key
	Type                        // the event's type; empty: the aggregatetype
	Payload                     // the record's value; NULL = tombstone
	Headers                     // a JSON object of record headers
	CreatedAt                   // ce_time
	Timestamp                   // the record's timestamp
	Topic                       // the record's topic, if the row itself names it
	Partition                   // the record's partition, if the row itself names it
	NumColumns
)

// NoTime stands for a missing time: a NULL, an unmapped column, or a time that RFC 3339 cannot express (infinity, years after 9999, BC).
const NoTime = math.MinInt64

// Event is one outbox row, ready to publish.
//
// It is a view: the values are slices of the buffer that the row was read into, or of the plan's scratch space. They are valid until the
// function that receives the event returns. To keep an event, copy it.
type Event struct {
	// Values holds each column's value in Postgres's text form, bytea as its raw bytes. nil is NULL or an unmapped column; an empty
	// string is an empty, non-nil slice. CreatedAt and Timestamp are only in the fields below, not in Values.
	Values [NumColumns][]byte

	// CreatedAt, Timestamp and CommitTime are microseconds since 1970-01-01 UTC, or NoTime. CommitTime is NoTime for backfilled rows.
	CreatedAt, Timestamp, CommitTime int64

	// Content is the kind of the payload, which follows from the type of its column.
	Content Content

	// Position is the position of the row in the WAL.
	Position Position
}

// Content is the kind of a payload column.
type Content uint8

// The kinds of payload, with the content-type of the record.
const (
	JSON  Content = iota // json, jsonb: application/json
	Text                 // text and similar types: text/plain
	Bytes                // bytea: application/octet-stream
)

// Run counts consecutive events of one transaction. It is the unit in which a sink reports acks. It is as small as possible, so that an
// acknowledged batch costs one subtraction per transaction and no allocation.
type Run struct {
	Tx   uint64 // the transaction's number in the relay's window
	Rows int32  // the number of its events in the run
}
