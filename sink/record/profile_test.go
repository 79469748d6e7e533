package record

import (
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"walpost/schema"
	"walpost/sink/internal/sinktest"
	"walpost/sink/recordbatch"
)

func debeziumComposer(position bool) *Composer {
	c := testComposer(func(string) {})
	c.profile, c.position = Debezium, position
	return c
}

func TestProfileDebezium(t *testing.T) {
	const id = "id=0b51f0a0-9d6c-4b7e-9d5a-000000000001"
	const position = "walpost_position=/walpost/shop/walpost.outbox 000000AB-00000001000000FF-00000003"
	for name, test := range map[string]struct {
		headers string
		without bool // the position
		change  func(*schema.Event)
		want    []string
	}{
		"plain":               {want: []string{id, position}},
		"position_header off": {without: true, want: []string{id}},
		"headers column": {headers: `{"traceparent":"00-1-2-01","content-type":"x/y","id":"no","ce_type":"no","walpost_position":"no"}`,
			want: []string{id, "traceparent=00-1-2-01", "content-type=x/y", position}},
		"tombstone": {change: func(ev *schema.Event) { ev.Values[schema.Payload] = nil }, want: []string{id, position}},
		"no key":    {change: func(ev *schema.Event) { ev.Values[schema.AggregateID] = nil }, want: []string{id, position}},
		// Debezium's router does nothing with the type.
		"no type": {change: func(ev *schema.Event) { ev.Values[schema.Type], ev.Values[schema.AggregateType] = nil, nil }, want: []string{id, position}},
	} {
		t.Run(name, func(t *testing.T) {
			ev := sinktest.Row()
			if test.headers != "" {
				ev.Values[schema.Headers] = []byte(test.headers)
			}
			if test.change != nil {
				test.change(ev)
			}
			rec := compose(t, debeziumComposer(!test.without), ev)
			if got, want := strings.Join(sinktest.HeaderLines(rec), "\n"), strings.Join(test.want, "\n"); got != want {
				t.Errorf("headers\n%s\nwant\n%s", got, want)
			}
			if string(rec.Key) != string(ev.Values[schema.AggregateID]) || string(rec.Value) != string(ev.Values[schema.Payload]) ||
				rec.Timestamp != ev.CommitTime/1000 {
				t.Errorf("key %q, value %q, timestamp %d", rec.Key, rec.Value, rec.Timestamp)
			}
		})
	}
	for _, c := range []schema.Column{schema.ID, schema.Headers} {
		ev := sinktest.Row()
		ev.Values[c] = []byte{}
		if _, err := debeziumComposer(true).Compose(ev); err == nil {
			t.Errorf("a row whose %s is empty is taken", c)
		}
	}
}

func TestProfileDebeziumAllocatesNothing(t *testing.T) {
	c, ev := debeziumComposer(true), sinktest.Row()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.Compose(ev); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParseProfile(t *testing.T) {
	for name, want := range map[string]Profile{"cloudevents": CloudEvents, "debezium": Debezium} {
		if got, err := ParseProfile(name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "Debezium", "cloudevent"} {
		if _, err := ParseProfile(name); err == nil || !strings.Contains(err.Error(), "cloudevents, debezium") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// The error of a refused record names the event, as far as its profile has the headers for that.
func TestBadRecordNamesTheEvent(t *testing.T) {
	const place = "000000AB-00000001000000FF-00000003"
	for name, test := range map[string]struct {
		composer    *Composer
		beside      []byte // the type that the caller knows
		typ, placed string
	}{
		"cloudevents":         {testComposer(nil), nil, "OrderPlaced", place},
		"debezium":            {debeziumComposer(true), []byte("OrderPlaced"), "OrderPlaced", place},
		"position_header off": {debeziumComposer(false), nil, "", ""},
	} {
		rec := compose(t, test.composer, sinktest.Row())
		var b recordbatch.Batch
		b.Append(rec, rec.Size())
		b.Each(func(_ int, r recordbatch.Raw) {
			bad := BadRecord("orders", r, test.beside, sarama.ErrMessageSizeTooLarge)
			if bad.ID != "0b51f0a0-9d6c-4b7e-9d5a-000000000001" || bad.Key != "order-1" || bad.Type != test.typ || bad.Position != test.placed {
				t.Errorf("%s: %+v", name, bad)
			}
		})
	}
}
