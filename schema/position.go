package schema

import (
	"cmp"
	"fmt"
	"strconv"
)

// Position is the position of an event in the WAL. Positions of one server grow in commit order, and no two events share one. So a consumer
// can use positions to order events and to recognise redeliveries. Their text is in the header ce_sequence.
//
// Treat it as opaque, except that positions can be compared: only the relay knows the meaning of the numbers.
type Position struct {
	Timeline uint32 // the timeline that owns LSN
	Index    uint32 // number of the outbox row in its transaction, from 0
	LSN      uint64 // start of the transaction's commit record, from the Begin message
}

// PositionLen is the length of a position's text in bytes.
const PositionLen = 8 + 1 + 16 + 1 + 8

// Compare returns -1, 0 or +1 if p is before, equal to or after q.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Timeline, q.Timeline), cmp.Compare(p.LSN, q.LSN), cmp.Compare(p.Index, q.Index))
}

// AppendText appends the position's text, PositionLen bytes: timeline, LSN and index as upper-case hexadecimal digits (8, 16, 8), separated
// by minuses. Texts sort in the same order as positions.
func (p Position) AppendText(b []byte) ([]byte, error) {
	b = appendHex(b, uint64(p.Timeline), 8)
	b = append(b, '-')
	b = appendHex(b, p.LSN, 16)
	b = append(b, '-')
	return appendHex(b, uint64(p.Index), 8), nil
}

// String returns the position's text.
func (p Position) String() string {
	b, _ := p.AppendText(make([]byte, 0, PositionLen))
	return string(b)
}

func appendHex(b []byte, v uint64, digits int) []byte {
	const hex = "0123456789ABCDEF"
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, hex[v>>shift&15])
	}
	return b
}

// ParsePosition reads the text of a position.
func ParsePosition(s string) (p Position, err error) {
	if len(s) == PositionLen {
		var timeline, lsn, index uint64
		timeline, err = strconv.ParseUint(s[:8], 16, 32)
		if err == nil {
			lsn, err = strconv.ParseUint(s[9:25], 16, 64)
		}
		if err == nil {
			index, err = strconv.ParseUint(s[26:], 16, 32)
		}
		p = Position{Timeline: uint32(timeline), LSN: lsn, Index: uint32(index)}
		if err == nil && p.String() == s {
			return p, nil
		}
	}
	return Position{}, fmt.Errorf("%q is not a position", s)
}
