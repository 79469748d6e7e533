package decoder

import (
	"errors"
	"fmt"
	"math"

	"walpost/schema"
)

func (d *Decoder) decodeInsert(c *cursor) (Change, error) {
	if !d.open {
		return nil, errors.New("no transaction is open")
	}
	oid := c.uint32("relation")
	if c.err != nil {
		return nil, c.err
	}
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
	if err := rel.decodeRow(c, &d.event); err != nil {
		return nil, err
	}
	if d.index == math.MaxUint32 { // a position must never come twice
		return nil, errors.New("the transaction has more outbox rows than a position can count")
	}
	d.event.CommitTime = d.begin.CommitTime
	d.event.Position = schema.Position{LSN: uint64(d.begin.FinalLSN), Index: d.index}
	d.index++
	return &d.insert, nil
}

// decodeRow fills ev from a row of the relation.
func (rel *relation) decodeRow(c *cursor, ev *schema.Event) error {
	if tuple := c.uint8("tuple"); c.err == nil && tuple != 'N' {
		return fmt.Errorf("tuple: kind %q, not 'N'", tuple)
	}
	n := int(c.uint16("column count"))
	if c.err != nil {
		return c.err
	}
	if n != len(rel.columns) {
		return fmt.Errorf("the row has %d columns, relation %d was announced with %d", n, rel.oid, len(rel.columns))
	}
	rel.plan.Reset(ev)
	for i := range n {
		var value []byte
		format := schema.Format(c.uint8("format"))
		switch format {
		case schema.TextFormat, schema.BinaryFormat:
			value = c.bytes("value", c.uint32("length"))
		case 'n': // NULL
		default:
			return rel.unsuitable(c, i, format)
		}
		if c.err != nil {
			return fmt.Errorf("column %s: %w", rel.columns[i].Name, c.err)
		}
		if err := rel.plan.Set(ev, i, format, value); err != nil {
			return err // names table and column
		}
	}
	return c.end()
}

// unsuitable explains a column whose format is none that an inserted row can have.
func (rel *relation) unsuitable(c *cursor, i int, format schema.Format) error {
	name := rel.columns[i].Name
	switch {
	case c.err != nil:
		return fmt.Errorf("column %s: %w", name, c.err)
	case format == 'u': // stands for a TOASTed value that an UPDATE left alone
		return fmt.Errorf("column %s: its value was left out as unchanged, which no inserted row can be", name)
	}
	return fmt.Errorf("column %s: unknown format %q", name, byte(format))
}
