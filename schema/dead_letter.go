package schema

import (
	"iter"

	"walpost/internal/reason"
)

// DeadLetter is an event that is not sent: Kafka has refused it, it can be no record, or an earlier event of its topic and key is parked. It
// is a row of walpost.dead_letters, with the record that walpost wanted to send.
type DeadLetter struct {
	At        Position
	EventID   []byte // nil: not known
	Type      []byte // nil: not known
	Topic     string // "": none could be made
	Partition int32  // -1: none was chosen
	Key       []byte
	Value     []byte
	Headers   iter.Seq[DeadHeader] // nil: none
	Timestamp int64                // of the record, milliseconds since 1970-01-01 UTC; NoTime: not known

	Head    bool        // it was refused itself, and does not only wait
	Blocked bool        // it waits for its topic, and not behind another event of its key
	Retried bool        // a person gave it back: it is published out of order, with the header walpost_replay
	Code    reason.Code // why it is not sent
	Detail  string      // the message of the broker or of walpost; "": none
	Cure    string      // what a person can do about it; it is not in the table

	Tx   uint64 // the transaction under which it is acked when it is parked
	Held int    // the bytes that it holds until then
}

// EachHeader returns the headers of the record, in order.
func (l *DeadLetter) EachHeader() iter.Seq[DeadHeader] {
	if l.Headers == nil {
		return func(func(DeadHeader) bool) {}
	}
	return l.Headers
}

// Size returns how many bytes the key, the value and the headers have.
func (l *DeadLetter) Size() (n int64) {
	n = int64(len(l.Key) + len(l.Value))
	for h := range l.EachHeader() {
		n += int64(len(h.Name) + len(h.Value))
	}
	return n
}

// SizeOf is the SQL of what [DeadLetter.Size] returns, for a row. It does not read large values.
const SizeOf = `(coalesce(octet_length(value), 0)::bigint + coalesce(octet_length(key), 0) + ` + sizeOfNames + ` + ` + sizeOfValues + `)`

// The bytes of the elements of an array, from the length of what array_send returns (src/backend/utils/adt/arrayfuncs.c of Postgres): 12 bytes, 8 for
// each dimension, and 4 for each element are not part of the elements. To unnest the array takes four times as long.
const (
	sizeOfNames  = `coalesce(octet_length(array_send(header_names)) - 12 - 8 * coalesce(array_ndims(header_names), 0) - 4 * cardinality(header_names), 0)`
	sizeOfValues = `coalesce(octet_length(array_send(header_values)) - 12 - 8 * coalesce(array_ndims(header_values), 0) - 4 * cardinality(header_values), 0)`
)

// IsBlocked is the SQL condition of a dead letter whose event waits for its topic.
const IsBlocked = `state = 'waiting' and reason = 'topic_blocked' and topic is not null`

// IsParked is the SQL condition of a dead letter whose event waits: it is neither released nor discarded.
const IsParked = `state in ('head', 'waiting', 'retrying')`

// WaitsForPerson is the SQL condition of a dead letter whose event waits for a person, and not for its topic. It is never NULL. Postgres uses the
// indexes dead_letters_person and dead_letters_person_key only for a condition from which theirs follows, so this has the same words.
const WaitsForPerson = IsParked + ` and not (` + IsBlocked + `)`

// DeadHeader is a header of the record.
type DeadHeader struct {
	Name, Value []byte // a nil value is a null value
}

// Verdict is what happens to an event that is about to be sent.
type Verdict uint8

// The verdicts.
const (
	Send   Verdict = iota // it is sent
	Park                  // it waits behind a parked event of its topic and key
	Settle                // it is acked unsent: it has a dead letter already, or the session has ended that it belongs to
	Wait                  // it waits for its topic, which takes no records
)

// ReplayTx marks the transaction of an event that comes from walpost.dead_letters and not from the stream: no window has it.
const ReplayTx uint64 = 1 << 63
