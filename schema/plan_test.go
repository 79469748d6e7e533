package schema

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func mustPlan(t testing.TB, m Mapping, cols []TableColumn) *Plan {
	t.Helper()
	p, err := m.Plan(DefaultTable, cols)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A value of every type in both formats, and its form in an event. "same" marks values that must not be copied.
func TestSet(t *testing.T) {
	uuid := []byte{0x0d, 0x96, 0x2b, 0x1e, 0x54, 0x52, 0x4e, 0x3b, 0xa5, 0x5e, 0x4f, 0x6f, 0x4c, 0x27, 0xe0, 0x11}
	const uuidText = "0d962b1e-5452-4e3b-a55e-4f6f4c27e011"
	for _, c := range []struct {
		column Column
		oid    uint32
		format Format
		sent   string
		want   string
		same   bool
	}{
		{ID, 2950, 't', uuidText, uuidText, true},
		{ID, 2950, 'b', string(uuid), uuidText, false},
		{ID, 21, 'b', "\x80\x00", "-32768", false},
		{ID, 23, 'b', "\x80\x00\x00\x00", "-2147483648", false},
		{ID, 20, 'b', "\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808", false},
		{ID, 20, 'b', "\x00\x00\x00\x00\x00\x00\x00\x2a", "42", false},
		{ID, 20, 't', "42", "42", true},
		{AggregateID, 25, 't', "", "", true},
		{AggregateID, 25, 'b', "k\x00", "k\x00", true},
		{AggregateID, 17, 't', `\x`, "", false},
		{AggregateID, 17, 'b', "", "", true},
		{Payload, 17, 't', `\x00ff5C7f`, "\x00\xff\\\x7f", false},
		{Payload, 17, 't', `a\\b\000\377c`, "a\\b\x00\xffc", false},
		{Payload, 17, 't', "", "", false},
		{Payload, 17, 't', "x", "x", false},
		{Payload, 17, 'b', "\x00\xff", "\x00\xff", true},
		{Payload, 3802, 't', `{"a": 1}`, `{"a": 1}`, true},
		{Payload, 3802, 'b', "\x01{\"a\": 1}", `{"a": 1}`, true},
		{Payload, 114, 'b', "\x01", "\x01", true},
		{Payload, 1043, 'b', "é", "é", true},
		{Headers, 3802, 'b', "\x01{}", "{}", true},
		{Partition, 21, 'b', "\x00\x07", "7", false},
		{Topic, 25, 't', "orders", "orders", true},
	} {
		m := explicit(DefaultMapping(), c.column, c.column.String())
		cols := with(c.column.String(), c.oid, "the type")
		p, ev := mustPlan(t, m, cols), &Event{}
		p.Reset(ev)
		sent := []byte(c.sent)
		if err := p.Set(ev, indexOf(cols, c.column.String()), c.format, sent); err != nil {
			t.Errorf("%s of type %d, %q: %v", c.column, c.oid, c.sent, err)
			continue
		}
		got := ev.Values[c.column]
		if got == nil || string(got) != c.want {
			t.Errorf("%s of type %d, %q: got %q (NULL: %v), want %q", c.column, c.oid, c.sent, got, got == nil, c.want)
		}
		if string(sent) != c.sent {
			t.Errorf("%s of type %d, %q: the buffer was written to: %q", c.column, c.oid, c.sent, sent)
		}
		if len(got) > 0 {
			clear(sent)
			if same := string(got) != c.want; same != c.same {
				t.Errorf("%s of type %d, %q: the value lies in the buffer: %v, want %v", c.column, c.oid, c.sent, same, c.same)
			}
		}
	}
}

func indexOf(cols []TableColumn, name string) int {
	for i := range cols {
		if cols[i].Name == name {
			return i
		}
	}
	panic("no column " + name)
}

func TestSetRefuses(t *testing.T) {
	for _, c := range []struct {
		column Column
		oid    uint32
		format Format
		sent   string
		says   string
	}{
		{ID, 2950, 'b', "short", "binary uuid of 5 bytes, wanted 16"},
		{ID, 21, 'b', "123", "binary smallint of 3 bytes, wanted 2"},
		{ID, 23, 'b', "", "binary integer of 0 bytes, wanted 4"},
		{ID, 20, 'b', "1234", "binary bigint of 4 bytes, wanted 8"},
		{CreatedAt, 1184, 'b', "1234", "binary timestamp of 4 bytes, wanted 8"},
		{CreatedAt, 1184, 't', "gestern", `"gestern" is not a timestamp in DateStyle ISO`},
		{Payload, 3802, 'b', "", "binary jsonb of 0 bytes"},
		{Payload, 3802, 'b', "\x02{}", "binary jsonb of version 2"},
		{Payload, 17, 't', `\x123`, "3 hexadecimal digits, an odd number"},
		{Payload, 17, 't', `\x12fg`, "hexadecimal digits from digit 3 on"},
		{Payload, 17, 't', `ab\`, "backslash at byte 3"},
		{Payload, 17, 't', `ab\12`, "backslash at byte 3"},
		{Payload, 17, 't', `\400`, "backslash at byte 1"},
		{Payload, 17, 't', `\189`, "backslash at byte 1"},
		{Payload, 25, 'x', "x", `format 'x'`},
	} {
		cols := with(c.column.String(), c.oid, "the type")
		p, ev := mustPlan(t, DefaultMapping(), cols), &Event{}
		p.Reset(ev)
		err := p.Set(ev, indexOf(cols, c.column.String()), c.format, []byte(c.sent))
		if err == nil || !strings.Contains(err.Error(), c.says) ||
			!strings.Contains(err.Error(), fmt.Sprintf("table walpost.outbox: column %q", c.column.String())) {
			t.Errorf("%s of type %d, %q: %v, want an error with table, column and %q", c.column, c.oid, c.sent, err, c.says)
		}
	}
	p, ev := mustPlan(t, DefaultMapping(), outboxColumns()), &Event{}
	for _, i := range []int{-1, 7, 1 << 30} {
		if err := p.Set(ev, i, TextFormat, []byte("x")); err == nil {
			t.Errorf("column %d of 7 is set", i)
		}
	}
}

func TestNullAndReset(t *testing.T) {
	m := explicit(DefaultMapping(), Timestamp, "created_at") // one table column feeds two parts
	p, ev := mustPlan(t, m, with("extra", 600, "point")), &Event{}
	p.Reset(ev)
	if ev.CreatedAt != NoTime || ev.Timestamp != NoTime || ev.CommitTime != NoTime {
		t.Errorf("an empty row has times: %+v", ev)
	}
	for i := range 8 {
		v := []byte("0")
		if i == 6 {
			v = []byte("1970-01-01 00:00:01+00")
		}
		if err := p.Set(ev, i, TextFormat, v); err != nil {
			t.Fatal(err)
		}
	}
	if ev.CreatedAt != 1_000_000 || ev.Timestamp != 1_000_000 {
		t.Errorf("created_at and timestamp from one column: %d and %d", ev.CreatedAt, ev.Timestamp)
	}
	ev.Position.LSN, ev.CommitTime = 1, 1
	p.Reset(ev)
	for i := range 8 {
		if err := p.Set(ev, i, TextFormat, nil); err != nil {
			t.Fatal(err)
		}
	}
	for c, v := range ev.Values {
		if v != nil {
			t.Errorf("%s of a NULL row is %q", Column(c), v)
		}
	}
	if ev.CreatedAt != NoTime || ev.Timestamp != NoTime || ev.CommitTime != NoTime || ev.Position != (Position{}) {
		t.Errorf("a NULL row has times or a position: %+v", ev)
	}
}

func TestContent(t *testing.T) {
	for oid, want := range map[uint32]Content{3802: JSON, 114: JSON, 25: Text, 1043: Text, 16400: Text, 17: Bytes} {
		p, ev := mustPlan(t, DefaultMapping(), with("payload", oid, "the type")), &Event{}
		p.Reset(ev)
		if ev.Content != want {
			t.Errorf("payload of type %d is content %d, want %d", oid, ev.Content, want)
		}
	}
}

// A value must stay valid if a later value of the row needs a larger block of scratch space.
func TestScratchKeepsWhatItHandedOut(t *testing.T) {
	m := DefaultMapping()
	cols := with("aggregateid", 17, "bytea")
	cols[4] = TableColumn{"payload", 17, "bytea"}
	p, ev := mustPlan(t, m, cols), &Event{}
	sizes := []int{100_000, maxKept, maxKept + 1, 10}
	for size := range 500 { // in small steps, so that sometimes only the last value of a row does not fit
		sizes = append(sizes, 7*size)
	}
	for _, size := range sizes {
		p.Reset(ev)
		id, key, payload := make([]byte, 16), bytes.Repeat([]byte("k"), size), bytes.Repeat([]byte("p"), 3*size)
		for i, v := range [][]byte{0: id, 2: fmt.Appendf(nil, `\x%x`, key), 4: fmt.Appendf(nil, `\x%x`, payload)} {
			format := TextFormat
			if i == 0 {
				format = BinaryFormat
			}
			if err := p.Set(ev, i, format, v); err != nil {
				t.Fatal(err)
			}
		}
		if string(ev.Values[ID]) != "00000000-0000-0000-0000-000000000000" || !bytes.Equal(ev.Values[AggregateID], key) ||
			!bytes.Equal(ev.Values[Payload], payload) || ev.Values[AggregateID] == nil {
			t.Errorf("at %d bytes an earlier value of the row changed", size)
		}
	}
	p.scratch.take(maxKept + 1)
	p.Reset(ev)
	if cap(p.scratch.block) > maxKept {
		t.Errorf("after a large row %d bytes of scratch are kept, want at most %d", cap(p.scratch.block), maxKept)
	}
}

func TestSetAllocatesNothing(t *testing.T) {
	p, row := binaryRow(t)
	ev := &Event{}
	setRow(t, p, ev, row)
	if n := testing.AllocsPerRun(100, func() { setRow(t, p, ev, row) }); n != 0 {
		t.Errorf("a row allocates %v times", n)
	}
}
