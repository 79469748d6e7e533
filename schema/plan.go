package schema

import "fmt"

// Format is how Postgres wrote a column's value, by the letter of the replication protocol.
type Format byte

// The two formats of a value.
const (
	TextFormat   Format = 't'
	BinaryFormat Format = 'b'
)

// Plan reads the rows of one table as events. It holds the scratch space of one row: it is for one goroutine, and the values of an
// event that it filled are valid until the next Reset.
type Plan struct {
	table   Table
	columns []planColumn     // by the index of the table's columns
	kinds   [NumColumns]kind // kindNone: not fed by this table
	content Content
	scratch scratch
}

// planColumn is what a table column feeds: nothing, one part of an event, seldom two (a created_at that is the record's timestamp too).
type planColumn struct {
	name  string
	steps []step
	// text and binary are the one part that it feeds with the value as it is in that format, as nearly every column does, or NumColumns.
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

// Has reports whether the table feeds c: an optional column under its default name may be absent.
func (p *Plan) Has(c Column) bool { return p.kinds[c] != kindNone }

// Reset readies ev for a row: every value NULL, every time NoTime, the position zero, the content that of the payload column. The
// values that the plan made for the row before are gone.
func (p *Plan) Reset(ev *Event) {
	*ev = Event{CreatedAt: NoTime, Timestamp: NoTime, CommitTime: NoTime, Content: p.content}
	p.scratch.reset()
}

// Set takes column i of the row, nil for NULL. Text is taken as it is, without a copy, and so is whatever else Postgres sends in the
// very form that an event has it in; the rest is converted into the plan's scratch space. Columns that feed nothing are passed over.
//
// An error names the column and what was found, but shows no value except a time's: a payload may be nobody's business. After an error
// the event is not to be used.
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

// convert is the rest of Set, apart from it because the text that needs none would otherwise pay for the space of its calls.
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
