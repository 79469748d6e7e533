package schema

import "math"

// Column names a part of an event that a table column can feed.
type Column uint8

// The columns of an outbox, in the order in which the configuration lists them. The first five are required in the table.
const (
	ID            Column = iota // the event's identity: uuid, text or integer
	AggregateType               // what the event is about; the default topic is made from it
	AggregateID                 // the record's key
	Type                        // the event's type; empty: the aggregatetype
	Payload                     // the record's value; NULL = tombstone
	Headers                     // a JSON object of record headers
	CreatedAt                   // ce_time
	Timestamp                   // the record's timestamp
	Topic                       // the record's topic, when the row itself names it
	Partition                   // the record's partition, when the row itself names it
	NumColumns
)

// NoTime stands for an instant that is not there: a NULL, an unmapped column, or one that RFC 3339 cannot express (infinity, years
// beyond 9999, before Christ).
const NoTime = math.MinInt64

// Event is one outbox row, ready to publish.
//
// It is a view: the values are slices of the buffer that the row was read into (or of the plan's scratch space) and are valid until the
// call that was given the event returns. Whoever keeps an event copies it.
type Event struct {
	// Values holds each column's value in Postgres's text form, bytea as its raw bytes. nil is NULL or an unmapped column; an empty
	// string is an empty, non-nil slice. CreatedAt and Timestamp are not here but in the two fields below.
	Values [NumColumns][]byte

	// CreatedAt, Timestamp and CommitTime are microseconds since 1970-01-01 UTC, or NoTime. CommitTime is NoTime for backfilled rows.
	CreatedAt, Timestamp, CommitTime int64

	// Content tells how the payload is to be read, from the type of its column.
	Content Content

	// Position is where the WAL has the row.
	Position Position
}

// Content is the kind of a payload column.
type Content uint8

// The kinds of payload, with the content-type that a record gets.
const (
	JSON  Content = iota // json, jsonb: application/json
	Text                 // text and its kin: text/plain
	Bytes                // bytea: application/octet-stream
)

// Run counts neighbouring events of one transaction: the unit in which a sink reports back. A run is as small as possible a ticket, so
// that an acknowledged batch costs one subtraction per transaction in it and no allocation.
type Run struct {
	Tx   uint64 // the transaction's number in the relay's window
	Rows int32  // how many of its events
}
