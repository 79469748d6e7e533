package decoder

import (
	"bytes"
	"testing"

	"walpost/schema"
)

func TestNullAndEmpty(t *testing.T) {
	d := newDecoder()
	feed(t, d, begin(8, 0, 1), outboxRelation(plain...))
	ev := feed(t, d, row(outboxOID, "1", "", nil, "", ""))[0].(*Insert).Event
	if v := ev.Values[schema.AggregateID]; v != nil {
		t.Errorf("NULL is %#v, want nil", v)
	}
	for _, c := range []schema.Column{schema.AggregateType, schema.Type, schema.Payload} { // the payload ends the message
		if v := ev.Values[c]; v == nil || len(v) > 0 {
			t.Errorf("%s: an empty string is %#v, want empty and not nil", c, v)
		}
	}
	ev = feed(t, d, plainRow(nil))[0].(*Insert).Event
	if v := ev.Values[schema.Payload]; v != nil {
		t.Errorf("NULL after a value is %q: the row before shows through", v)
	}
}

// Values are slices of the message, and appending to one does not overwrite the next.
func TestValuesAreSlicesOfTheMessage(t *testing.T) {
	d := newDecoder()
	feed(t, d, begin(8, 0, 1), outboxRelation(plain...))
	m := plainRow(`{"n":1}`)
	ev := feed(t, d, m)[0].(*Insert).Event
	at := bytes.LastIndexByte(m, '1')
	m[at] = '2'
	if got := string(ev.Values[schema.Payload]); got != `{"n":2}` {
		t.Errorf("payload %s is a copy", got)
	}
	_ = append(ev.Values[schema.Type], "overwritten"...)
	if got := string(ev.Values[schema.Payload]); got != `{"n":2}` {
		t.Errorf("payload %s after something was appended to the type", got)
	}
}

func TestBinaryValues(t *testing.T) {
	d := newDecoder()
	feed(t, d, begin(8, 0, 1), outboxRelation(append(plain[:5:5], column{"created_at", 1184})...))
	m := message("I").u32(outboxOID).u8('N').u16(6).
		value('b', "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff").
		value('b', "order").value('t', "k").u8('n').
		value('b', "\x01{}").
		value('b', string(message(nil).u64(1_000_000)))
	ev := feed(t, d, m)[0].(*Insert).Event
	for c, want := range map[schema.Column]string{
		schema.ID: "00112233-4455-6677-8899-aabbccddeeff", schema.AggregateType: "order", schema.AggregateID: "k", schema.Payload: "{}",
	} {
		if got := string(ev.Values[c]); got != want {
			t.Errorf("%s is %q, want %q", c, got, want)
		}
	}
	if want := int64(epoch + 1_000_000); ev.CreatedAt != want {
		t.Errorf("created_at is %d, want %d", ev.CreatedAt, want)
	}
}

func TestBytesThatTheTypeForbids(t *testing.T) {
	d := newDecoder()
	feed(t, d, begin(0x16B3748, 0, 1), outboxRelation(plain...))
	_, err := d.Decode(message("I").u32(outboxOID).u8('N').u16(5).value('b', "short").value('t', "").value('t', "").value('t', "").u8('n'))
	const want = `decode insert at 0/16B3748: table walpost.outbox: column "id": binary uuid of 5 bytes, wanted 16`
	if err == nil || err.Error() != want {
		t.Errorf("error:\n got %v\nwant %s", err, want)
	}
	checkPermanent(t, err)
}

func TestRowAllocatesNothing(t *testing.T) {
	d := newDecoder()
	feed(t, d, begin(8, 0, 1), outboxRelation(plain...))
	m := plainRow(`{"n":1}`)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := d.Decode(m); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations per row", n)
	}
}
