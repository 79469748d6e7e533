package decoder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"walpost/schema"
)

// insertHead is the length of an Insert message up to its first column: type, relation, kind of tuple, number of columns.
const insertHead = 1 + 4 + 1 + 2

// decodeInsert uses no cursor: the calls of one would take half of the time of a row.
func (d *Decoder) decodeInsert(msg []byte) (Change, error) {
	if !d.open {
		return nil, errors.New("no transaction is open")
	}
	if len(msg) < insertHead {
		return nil, fmt.Errorf("%d bytes wanted at least, it has %d", insertHead, len(msg))
	}
	oid := binary.BigEndian.Uint32(msg[1:])
	rel := d.last
	if rel == nil || rel.oid != oid {
		var known bool
		if rel, known = d.relations[oid]; !known {
			return nil, fmt.Errorf("relation %d was never announced", oid)
		}
		if rel == nil {
			return nil, nil // a row of another table of the publication
		}
		d.last = rel
	}
	if rel.err != nil {
		return nil, rel.err
	}
	if err := rel.decodeRow(msg, &d.event); err != nil {
		return nil, err
	}
	if d.index == math.MaxUint32 { // a position must never be used twice
		return nil, errors.New("the transaction has more outbox rows than a position can count")
	}
	d.event.CommitTime = d.begin.CommitTime
	d.event.Position = schema.Position{LSN: uint64(d.begin.FinalLSN), Index: d.index}
	d.index++
	return &d.insert, nil
}

// decodeRow fills ev from the Insert message of a row of the relation.
func (rel *relation) decodeRow(msg []byte, ev *schema.Event) error {
	if tuple := msg[5]; tuple != 'N' {
		return fmt.Errorf("tuple: kind %q, not 'N'", tuple)
	}
	n := int(binary.BigEndian.Uint16(msg[6:]))
	if n != len(rel.columns) {
		return fmt.Errorf("the row has %d columns, relation %d was announced with %d", n, rel.oid, len(rel.columns))
	}
	rel.plan.Reset(ev)
	at := insertHead
	for i := range n {
		if at >= len(msg) {
			return rel.damaged(i, msg[at:])
		}
		format := schema.Format(msg[at])
		if format == 'n' { // NULL: Reset has set every column to that
			at++
			continue
		}
		if format != schema.TextFormat && format != schema.BinaryFormat || len(msg)-at < 5 {
			return rel.damaged(i, msg[at:])
		}
		size := binary.BigEndian.Uint32(msg[at+1:])
		if uint64(size) > uint64(len(msg)-at-5) {
			return rel.damaged(i, msg[at:])
		}
		from := at + 5
		at = from + int(size)
		// An empty value is not nil. The capacity ends with the value, so that appending to it does not overwrite the next value.
		if err := rel.plan.Set(ev, i, format, msg[from:at:at]); err != nil {
			return err // it names table and column
		}
	}
	if at < len(msg) {
		return tooMany(len(msg) - at)
	}
	return nil
}

// damaged returns an error that says why column i cannot be read from the rest of the row.
func (rel *relation) damaged(i int, row []byte) error {
	c := cursor{rest: row}
	switch format := c.uint8("format"); {
	case c.err != nil:
	case format == 'u': // in an UPDATE it stands for an unchanged TOASTed value
		c.fail(errors.New("its value was left out as unchanged, which no inserted row can be"))
	case format != 't' && format != 'b':
		c.fail(fmt.Errorf("unknown format %q", format))
	default:
		c.skip("value", c.uint32("length"))
	}
	return fmt.Errorf("column %s: %w", rel.columns[i].Name, c.err)
}
