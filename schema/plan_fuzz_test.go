package schema

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"
)

// FuzzSet sets any bytes in either format for a column of any type. There must be no panic and no write into the input. No value may be
// longer than the longest text that Postgres could send for it. A bytea must be the same as the standard library reads it.
func FuzzSet(f *testing.F) {
	for i := range types {
		f.Add(uint8(i), byte('t'), []byte("2026-11-20 12:34:56.789012+05:30"))
		f.Add(uint8(i), byte('b'), []byte("\x01234567"))
		f.Add(uint8(i), byte('b'), make([]byte, 16))
	}
	f.Add(uint8(8), byte('t'), []byte(`\x00ff`))
	f.Add(uint8(8), byte('t'), []byte(`a\\b\000`))
	f.Add(uint8(11), byte('t'), []byte("4713-01-01 00:00:00+00:17:30 BC"))
	f.Fuzz(func(t *testing.T, typ uint8, format byte, sent []byte) {
		chosen := types[int(typ)%len(types)]
		for c := ID; c < NumColumns; c++ {
			cols := with(c.String(), chosen.oid, chosen.name)
			p, err := explicit(DefaultMapping(), c, c.String()).Plan(DefaultTable, cols)
			if err != nil {
				continue
			}
			ev := &Event{}
			before := slices.Clone(sent)
			i := indexOf(cols, c.String())
			for range 2 { // the second row uses the scratch space of the first
				p.Reset(ev)
				err = p.Set(ev, i, Format(format), sent)
				if !bytes.Equal(before, sent) {
					t.Fatalf("%s: the buffer was written to", c)
				}
				if err != nil {
					continue
				}
				v := ev.Values[c]
				if c == CreatedAt || c == Timestamp {
					checkTime(t, max(ev.CreatedAt, ev.Timestamp))
				} else if (v == nil) != (sent == nil) || len(v) > max(len(sent), 36) {
					t.Fatalf("%s: %q became %q", c, sent, v)
				}
				if digits, ok := bytes.CutPrefix(sent, []byte(`\x`)); ok && p.kinds[c] == kindBytea && format == 't' {
					if want, err := hex.DecodeString(string(digits)); err != nil || !bytes.Equal(v, want) {
						t.Fatalf("%s: %q became %q, want %q, %v", c, sent, v, want, err)
					}
				}
			}
		}
	})
}

func checkTime(t *testing.T, micros int64) {
	if micros != NoTime && (micros < firstTime || micros >= endOfTimes) {
		t.Fatalf("%d is a time that RFC 3339 cannot write", micros)
	}
}
