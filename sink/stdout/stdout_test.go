package stdout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"walpost/schema"
	"walpost/sink/internal/sinktest"
	"walpost/sink/record"
)

func config(t *testing.T) record.Config {
	t.Helper()
	topic, err := schema.ParseTemplate("{aggregatetype}", schema.DefaultMapping())
	if err != nil {
		t.Fatal(err)
	}
	return record.Config{Topic: topic, Source: "/walpost/shop/walpost.outbox"}
}

// numbered returns a row whose id is a number.
func numbered(i int) *schema.Event {
	ev := sinktest.Row()
	ev.Values[schema.ID] = fmt.Appendf(nil, "%08d", i)
	return ev
}

// printed prints events and returns the lines.
func printed(t *testing.T, events ...*schema.Event) []string {
	t.Helper()
	var out bytes.Buffer
	s := New(&out, config(t))
	for _, ev := range events {
		if err := s.Print(ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestLine(t *testing.T) {
	ev := sinktest.Row()
	ev.CommitTime = sinktest.Noon.AddDate(-10, 0, 0).UnixMicro()
	ev.CreatedAt = ev.CommitTime - time.Second.Microseconds()
	ev.Values[schema.Headers] = []byte(`{"tenant": "<t>", "gone": null}`)
	ev.Values[schema.Partition] = []byte("4")
	want := `{"topic":"orders","partition":4,"key":"order-1","id":"0b51f0a0-9d6c-4b7e-9d5a-000000000001","type":"OrderPlaced",` +
		`"time":"2020-03-01T11:59:59.123456Z","sequence":"000000AB-00000001000000FF-00000003","timestamp":"2020-03-01T12:00:00.123Z",` +
		`"headers":{"ce_id":"0b51f0a0-9d6c-4b7e-9d5a-000000000001",` +
		`"ce_sequence":"000000AB-00000001000000FF-00000003","ce_source":"/walpost/shop/walpost.outbox","ce_specversion":"1.0","ce_subject":"order-1",` +
		`"ce_time":"2020-03-01T11:59:59.123456Z","ce_type":"OrderPlaced","content-type":"application/json","gone":null,` +
		`"id":"0b51f0a0-9d6c-4b7e-9d5a-000000000001","tenant":"<t>"},"payload":{"n":1}}`
	if got := printed(t, ev); len(got) != 1 || got[0] != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestValues(t *testing.T) {
	for _, test := range []struct {
		content schema.Content
		value   []byte
		want    string
	}{
		{schema.JSON, []byte("{\n \"a\": [1, \"<\"]\n}"), `{"a":[1,"<"]}`},
		{schema.JSON, []byte(`12345678901234567890`), `12345678901234567890`},
		{schema.JSON, []byte(`null`), `null`},
		{schema.JSON, nil, `null`},
		{schema.Text, []byte("a\n<b>"), `"a\n<b>"`},
		{schema.Text, []byte("{}"), `"{}"`},
		{schema.Text, []byte{}, `""`},
		{schema.Text, []byte{0xe9}, `{"base64":"6Q=="}`},
		{schema.Bytes, []byte{0, 0xff}, `{"base64":"AP8="}`},
		{schema.Bytes, []byte("plain"), `{"base64":"cGxhaW4="}`},
	} {
		ev := sinktest.Row()
		ev.Content, ev.Values[schema.Payload], ev.Values[schema.AggregateID] = test.content, test.value, nil
		lines := printed(t, ev)
		var got struct{ Key, Payload json.RawMessage }
		if err := json.Unmarshal([]byte(lines[0]), &got); err != nil || len(lines) != 1 || string(got.Payload) != test.want || string(got.Key) != "null" {
			t.Errorf("%q: %s, %v; want %s", test.value, lines, err, test.want)
		}
	}
}

// A key of bytes is shown as it is, and not with replacement characters.
func TestKeys(t *testing.T) {
	for key, want := range map[string]string{"": `""`, "é": `"é"`, "\xff": `{"base64":"/w=="}`} {
		ev := sinktest.Row()
		ev.Values[schema.AggregateID] = []byte(key)
		var got struct{ Key json.RawMessage }
		if err := json.Unmarshal([]byte(printed(t, ev)[0]), &got); err != nil || string(got.Key) != want {
			t.Errorf("%q: %s, %v; want %s", key, got.Key, err, want)
		}
	}
}

func TestOrderIsKept(t *testing.T) {
	var events []*schema.Event
	for i := range 1000 { // more than the buffer holds
		events = append(events, numbered(i))
	}
	for i, line := range printed(t, events...) {
		if !strings.Contains(line, fmt.Sprintf(`"id":"%08d"`, i)) {
			t.Fatalf("line %d: %s", i, line)
		}
	}
}

// An event that Kafka would never accept gives an error. Nothing of it is printed, and the next event is.
func TestBadEvents(t *testing.T) {
	for name, spoil := range map[string]func(*schema.Event){
		"its id is NULL":    func(ev *schema.Event) { ev.Values[schema.ID] = nil },
		"a topic name has":  func(ev *schema.Event) { ev.Values[schema.Topic] = []byte("a b") },
		"is NULL":           func(ev *schema.Event) { ev.Values[schema.AggregateType] = nil },
		"not a JSON object": func(ev *schema.Event) { ev.Values[schema.Headers] = []byte("1") },
		"not a partition n": func(ev *schema.Event) { ev.Values[schema.Partition] = []byte("x") },
	} {
		var out bytes.Buffer
		s := New(&out, config(t))
		ev := sinktest.Row()
		spoil(ev)
		var bad *record.BadEvent
		if err := s.Print(ev); !errors.As(err, &bad) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Flush(); err != nil || out.Len() > 0 {
			t.Errorf("%s: %v, printed %s", name, err, &out)
		}
		if err := errors.Join(s.Print(sinktest.Row()), s.Flush()); err != nil || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("after %s: %v, printed %s", name, err, &out)
		}
	}
}

var errBroken = errors.New("broken pipe")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

// An error of the output is not an error of the event.
func TestOutputThatCannotBeWritten(t *testing.T) {
	s := New(brokenWriter{}, config(t))
	for i := range 1000 { // more than the buffer holds
		if err := s.Print(numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.Flush(); !errors.Is(err, errBroken) {
			t.Errorf("flush: %v", err)
		}
	}
}
