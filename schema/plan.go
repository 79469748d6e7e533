package schema

import "fmt"

// Format is the format of a column's value, as the letter that the replication protocol uses.
type Format byte

// The two formats of a value.
const (
	TextFormat   Format = 't'
	BinaryFormat Format = 'b'
)

// Plan converts the rows of one table to events. It has scratch space for one row. So it must be used by one goroutine only, and the values
// of an event are valid until the next Reset.
type Plan struct {
	table   Table
	columns []planColumn     // in the order of the table's columns
	kinds   [NumColumns]kind // kindNone: the table has no column for it
	content Content
	scratch scratch
}

// planColumn says which parts of an event a table column feeds: none, one, or seldom two (a created_at that is the record's timestamp,
// too).
type planColumn struct {
	name  string
	steps []step
	// text and binary are the only part that the column feeds, if a value in that format needs no conversion, and else NumColumns. Nearly
	// every column needs none.
	text, binary Column
}

type step struct {
	to   Column
	kind kind
}

func (c *planColumn) findPlain() {
	c.text, c.binary = NumColumns, NumColumns
	if len(c.steps) != 1 {
		return
	}
	switch only := c.steps[0]; only.kind {
	case kindTimestamp:
	case kindBytea:
		c.binary = only.to
	case kindText, kindJSON:
		c.text, c.binary = only.to, only.to
	default:
		c.text = only.to
	}
}

// Has reports whether the table has a column for c: an optional column with its default name may be absent.
func (p *Plan) Has(c Column) bool { return p.kinds[c] != kindNone }

// Reset prepares ev for a row: it sets every value to NULL, every time to NoTime, the position to zero, and the content to that of the
// payload column. The values of the previous row are no longer valid.
func (p *Plan) Reset(ev *Event) {
	*ev = Event{CreatedAt: NoTime, Timestamp: NoTime, CommitTime: NoTime, Content: p.content}
	p.scratch.reset()
}

// Set sets the parts of ev that column i feeds to v; nil is NULL. It does not copy text, nor any other value that Postgres sends in the
// form that an event needs. It converts all other values into the plan's scratch space. It ignores columns that feed nothing.
//
// An error names the column and what was found. It shows no value except that of a time, because a payload may be confidential. After an
// error the event must not be used.
func (p *Plan) Set(ev *Event, i int, f Format, v []byte) error {
	if uint(i) >= uint(len(p.columns)) {
		return p.noColumn(i)
	}
	col := &p.columns[i]
	as := col.text
	if f == BinaryFormat {
		as = col.binary
	}
	if as < NumColumns && (f == TextFormat || f == BinaryFormat) {
		ev.Values[as] = v
		return nil
	}
	return p.convert(ev, col, f, v)
}

func (p *Plan) noColumn(i int) error {
	return fmt.Errorf("table %s: a row brought column number %d, its description has %d columns", p.table, i+1, len(p.columns))
}

// convert is the rest of Set. It is a separate function so that text, which needs no conversion, does not pay for the stack of these calls.
func (p *Plan) convert(ev *Event, col *planColumn, f Format, v []byte) error {
	if v == nil || len(col.steps) == 0 {
		return nil
	}
	if f != TextFormat && f != BinaryFormat {
		return fmt.Errorf("table %s: column %q: format %q is neither text nor binary", p.table, col.name, byte(f))
	}
	for _, s := range col.steps {
		if err := p.set(ev, s, f, v); err != nil {
			return fmt.Errorf("table %s: column %q: %w", p.table, col.name, err)
		}
	}
	return nil
}

func (p *Plan) set(ev *Event, s step, f Format, v []byte) (err error) {
	switch {
	case s.kind == kindTimestamp:
		t, err := timestamp(f, v)
		if err != nil {
			return err
		}
		if s.to == CreatedAt {
			ev.CreatedAt = t
		} else {
			ev.Timestamp = t
		}
	case f == BinaryFormat:
		ev.Values[s.to], err = p.scratch.binary(s.kind, v)
	case s.kind == kindBytea:
		ev.Values[s.to], err = p.scratch.byteaText(v)
	default:
		ev.Values[s.to] = v
	}
	return err
}
