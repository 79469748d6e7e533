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
	named   uint32 // the table that was last announced under the outbox's name, at first the live one

	types     map[uint32]typeName  // announced types by oid
	relations map[uint32]*relation // announced relations by oid; nil: not the outbox
	last      *relation            // the outbox relation of the last row or announcement: spares rows the map
	shape     Relation             // what the caller was told last

	open   bool   // between Begin and Commit
	index  uint32 // outbox rows seen in the open transaction
	begin  Begin  // the open transaction
	commit Commit
	event  schema.Event
	insert Insert // points to event

	err error // the first error: nothing after it is decoded
}

// New returns a decoder for a stream's first byte on. Rows of table become events by mapping, which has to hold only when a row comes.
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

// Decode decodes one message and returns what it means to the outbox, nil for nothing. The change and the values of an event are valid
// until the next call and as long as msg is unchanged. An error is an [*Error]; later calls return it again, so that a caller who
// goes on by mistake gets no Commit that would cover what was not decoded.
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

// decodeOther decodes what is not a row.
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
		// The publication has inserts only; one that has more is not refused. What an UPDATE or DELETE does to an outbox row is
		// housekeeping and no event, so its tuples are not even looked at.
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

// kind names a message in errors.
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

// epoch is 2000-01-01, from which Postgres counts, in µs since 1970-01-01.
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

// checkTruncate checks a Truncate, which changes nothing here: rows inserted before it in the same transaction are events all the same.
func checkTruncate(c *cursor) error {
	n := c.uint32("relation count")
	c.uint8("options")
	if c.err == nil && uint64(n)*4 != uint64(len(c.rest)) {
		return fmt.Errorf("%d relations announced, %d bytes left", n, len(c.rest))
	}
	return c.err
}

// checkMessage checks a logical message (pg_logical_emit_message), which some other use of the database has written.
func checkMessage(c *cursor) error {
	c.uint8("flags")
	c.uint64("LSN")
	c.text("prefix")
	c.skip("content", c.uint32("content length"))
	return c.end()
}

// checkOrigin checks an Origin: where a transaction that was replicated into this database came from. It is an event here all the same.
func checkOrigin(c *cursor) error {
	c.uint64("LSN")
	c.text("name")
	return c.end()
}
