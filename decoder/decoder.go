package decoder

import (
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"

	"walpost/schema"
)

// Decoder decodes one replication stream. It is not safe for concurrent use.
type Decoder struct {
	table   schema.Table
	mapping schema.Mapping
	live    live   // see Follow
	named   uint32 // the oid of the table that was last announced under the outbox's name; at first that of the live one

	types     map[uint32]typeName  // announced types by oid
	relations map[uint32]*relation // announced relations by oid; nil: a table that is not the outbox
	last      *relation            // the outbox relation of the last row or announcement: saves most rows the lookup in relations
	shape     Relation             // the last one that Decode returned

	open   bool   // between Begin and Commit
	index  uint32 // outbox rows seen in the open transaction
	begin  Begin  // the open transaction
	commit Commit
	event  schema.Event
	insert Insert // points to event

	err error // the first error: after it, nothing is decoded any more
}

// New returns a decoder for a stream from its first message on. It maps rows of table to events with mapping. The mapping has to fit the
// table only when a row comes.
func New(table schema.Table, mapping schema.Mapping) *Decoder {
	d := &Decoder{
		table:     table,
		mapping:   mapping,
		types:     map[uint32]typeName{},
		relations: map[uint32]*relation{},
	}
	d.insert.Event = &d.event
	return d
}

// Decode decodes one message and returns its meaning for the outbox, or nil if it has none. The change and the values of an event are valid
// until the next call and as long as msg is unchanged. An error is an [*Error]. Later calls return it again, so that a caller that
// continues by mistake gets no Commit for a row that was not decoded.
func (d *Decoder) Decode(msg []byte) (Change, error) {
	if d.err != nil {
		return nil, d.err
	}
	if len(msg) == 0 {
		return nil, d.fail("message", errors.New("it is empty"))
	}
	if msg[0] == 'I' {
		change, err := d.decodeInsert(msg)
		if err != nil {
			return nil, d.fail("insert", err)
		}
		return change, nil
	}
	return d.decodeOther(msg)
}

// decodeOther decodes all messages except Insert.
func (d *Decoder) decodeOther(msg []byte) (change Change, err error) {
	c := cursor{rest: msg[1:]}
	switch msg[0] {
	case 'B':
		change, err = d.decodeBegin(&c)
	case 'C':
		change, err = d.decodeCommit(&c)
	case 'R':
		change, err = d.decodeRelation(&c)
	case 'Y':
		err = d.decodeType(&c)
	case 'T':
		err = checkTruncate(&c)
	case 'M':
		err = checkMessage(&c)
	case 'O':
		err = checkOrigin(&c)
	case 'U', 'D':
		// The publication should have inserts only, but one that has more is not refused. An UPDATE or DELETE of an outbox row is
		// housekeeping and not an event, so its tuples are not read.
	default:
		err = fmt.Errorf("type %q is not one of protocol 1 without streaming", msg[0])
	}
	if err != nil {
		return nil, d.fail(kind(msg[0]), err)
	}
	return change, nil
}

func (d *Decoder) fail(message string, err error) error {
	e := &Error{Message: message, Err: err}
	if d.open {
		e.LSN = d.begin.FinalLSN
	}
	d.err = e
	return e
}

// kind returns the name of a message for errors.
func kind(b byte) string {
	switch b {
	case 'B':
		return "begin"
	case 'C':
		return "commit"
	case 'R':
		return "relation"
	case 'Y':
		return "type"
	case 'T':
		return "truncate"
	case 'M':
		return "logical message"
	case 'O':
		return "origin"
	}
	return "message"
}

// epoch is 2000-01-01, from which Postgres counts time, in µs since 1970-01-01.
const epoch = 946_684_800_000_000

func (d *Decoder) decodeBegin(c *cursor) (Change, error) {
	b := Begin{
		FinalLSN:   pglogrepl.LSN(c.uint64("final LSN")),
		CommitTime: int64(c.uint64("commit time")) + epoch,
		XID:        c.uint32("transaction id"),
	}
	if err := c.end(); err != nil {
		return nil, err
	}
	if d.open {
		return nil, fmt.Errorf("transaction %d begins before transaction %d has ended", b.XID, d.begin.XID)
	}
	d.open, d.index, d.begin = true, 0, b
	return &d.begin, nil
}

func (d *Decoder) decodeCommit(c *cursor) (Change, error) {
	flags := c.uint8("flags")
	d.commit = Commit{
		LSN:    pglogrepl.LSN(c.uint64("commit LSN")),
		EndLSN: pglogrepl.LSN(c.uint64("end LSN")),
	}
	c.uint64("commit time")
	if err := c.end(); err != nil {
		return nil, err
	}
	switch {
	case flags != 0:
		return nil, fmt.Errorf("flags are %#x, not 0", flags)
	case !d.open:
		return nil, errors.New("no transaction is open")
	case d.commit.LSN != d.begin.FinalLSN:
		return nil, fmt.Errorf("it is of a transaction that commits at %s, the open one commits at %s", d.commit.LSN, d.begin.FinalLSN)
	case d.commit.EndLSN <= d.commit.LSN:
		return nil, fmt.Errorf("its record ends at %s and starts at %s", d.commit.EndLSN, d.commit.LSN)
	}
	d.open = false
	return &d.commit, nil
}

// checkTruncate checks a Truncate message. It has no effect: rows that the same transaction inserted before it are events nevertheless.
func checkTruncate(c *cursor) error {
	n := c.uint32("relation count")
	c.uint8("options")
	if c.err == nil && uint64(n)*4 != uint64(len(c.rest)) {
		return fmt.Errorf("%d relations announced, %d bytes left", n, len(c.rest))
	}
	return c.err
}

// checkMessage checks a logical message (pg_logical_emit_message). Other users of the database may write such messages.
func checkMessage(c *cursor) error {
	c.uint8("flags")
	c.uint64("LSN")
	c.text("prefix")
	c.skip("content", c.uint32("content length"))
	return c.end()
}

// checkOrigin checks an Origin message, which says that a transaction was replicated into this database from elsewhere. Its rows are
// events, too.
func checkOrigin(c *cursor) error {
	c.uint64("LSN")
	c.text("name")
	return c.end()
}
