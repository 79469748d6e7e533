package sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"walpost/schema"
)

// printed publishes events to a stdout sink and returns its lines.
func printed(t *testing.T, events ...*schema.Event) []string {
	t.Helper()
	var out bytes.Buffer
	acks := newLedger()
	s := NewStdout(&out, config(t, nil), acks)
	held := 0
	for i, ev := range events {
		n, err := s.Publish(ev, uint64(i/2))
		if err != nil {
			t.Fatal(err)
		}
		held += n
	}
	if out.Len() > 0 || len(acks.order) > 0 {
		t.Errorf("%d bytes written and %d transactions acked before Flush", out.Len(), len(acks.order))
	}
	s.Flush(false)
	s.Flush(false) // has nothing to do
	if acked, rejected := acks.total(); acked != len(events) || rejected != 0 || acks.bytes != held {
		t.Errorf("%d events of %d acked, %d rejected; %d bytes of %d", acked, len(events), rejected, acks.bytes, held)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestStdoutLine(t *testing.T) {
	ev := row()
	ev.CommitTime = noon.AddDate(-10, 0, 0).UnixMicro()
	ev.CreatedAt = ev.CommitTime
	ev.Values[schema.Headers] = []byte(`{"tenant": "t", "gone": null}`)
	ev.Values[schema.Partition] = []byte("4")
	want := `{"topic":"orders","partition":4,"key":"order-1","timestamp":"2020-03-01T12:00:00.123Z","headers":{"ce_id":"0b51f0a0-9d6c-4b7e-9d5a-000000000001",` +
		`"ce_sequence":"000000AB-00000001000000FF-00000003","ce_source":"/walpost/shop/walpost.outbox","ce_specversion":"1.0","ce_subject":"order-1",` +
		`"ce_time":"2020-03-01T12:00:00.123456Z","ce_type":"OrderPlaced","content-type":"application/json","gone":null,` +
		`"id":"0b51f0a0-9d6c-4b7e-9d5a-000000000001","tenant":"t"},"value":{"n":1}}`
	if got := printed(t, ev); len(got) != 1 || got[0] != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestStdoutValues(t *testing.T) {
	for _, test := range []struct {
		content schema.Content
		value   []byte
		want    string
	}{
		{schema.JSON, []byte("{\n \"a\": [1, \"<\"]\n}"), `{"a":[1,"\u003c"]}`},
		{schema.JSON, []byte(`12345678901234567890`), `12345678901234567890`},
		{schema.JSON, []byte(`null`), `null`},
		{schema.JSON, nil, `null`},
		{schema.Text, []byte("a\nb"), `"a\nb"`},
		{schema.Text, []byte("{}"), `"{}"`},
		{schema.Text, []byte{}, `""`},
		{schema.Bytes, []byte{0, 0xff}, `{"base64":"AP8="}`},
		{schema.Bytes, []byte("plain"), `"plain"`},
	} {
		ev := row()
		ev.Content, ev.Values[schema.Payload], ev.Values[schema.AggregateID] = test.content, test.value, nil
		lines := printed(t, ev)
		var got struct{ Key, Value json.RawMessage }
		if err := json.Unmarshal([]byte(lines[0]), &got); err != nil || len(lines) != 1 || string(got.Value) != test.want || string(got.Key) != "null" {
			t.Errorf("%q: %s, %v; want %s", test.value, lines, err, test.want)
		}
	}
}

func TestStdoutKeepsOrder(t *testing.T) {
	var events []*schema.Event
	for i := range 50 { // less than the buffer holds, for printed wants nothing before Flush
		events = append(events, event("t", "k", i))
	}
	for i, line := range printed(t, events...) {
		if !strings.Contains(line, fmt.Sprintf(`"id":"%08d"`, i)) {
			t.Fatalf("line %d: %s", i, line)
		}
	}
}

func TestStdoutBadEvents(t *testing.T) {
	for name, spoil := range map[string]func(*schema.Event){
		"its id is NULL":    func(ev *schema.Event) { ev.Values[schema.ID] = nil },
		"a topic name has":  func(ev *schema.Event) { ev.Values[schema.Topic] = []byte("a b") },
		"is NULL":           func(ev *schema.Event) { ev.Values[schema.AggregateType] = nil },
		"no JSON object":    func(ev *schema.Event) { ev.Values[schema.Headers] = []byte("1") },
		"no partition numb": func(ev *schema.Event) { ev.Values[schema.Partition] = []byte("x") },
	} {
		var out bytes.Buffer
		acks := newLedger()
		s := NewStdout(&out, config(t, nil), acks)
		ev := row()
		spoil(ev)
		var bad *BadEvent
		if n, err := s.Publish(ev, 1); n != 0 || !errors.As(err, &bad) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if s.Flush(false); out.Len() > 0 || len(acks.order) > 0 {
			t.Errorf("%s: something was kept", name)
		}
	}
}

var errBroken = errors.New("broken pipe")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

// What nobody has seen is not acked.
func TestStdoutThatCannotBeWritten(t *testing.T) {
	acks := newLedger()
	s := NewStdout(brokenWriter{}, config(t, nil), acks)
	if _, err := s.Publish(event("t", "k", 1), 9); err != nil {
		t.Fatal(err)
	}
	s.Flush(false)
	if err := acks.rejected[9]; !errors.Is(err, errBroken) || len(acks.order) > 0 {
		t.Errorf("rejected %v, acked %v", acks.rejected, acks.order)
	}
	var failed error
	for i := range 1000 { // more than the buffer holds
		if _, err := s.Publish(event("t", "k", i), 10); err != nil {
			failed = err
		}
	}
	if !errors.Is(failed, errBroken) {
		t.Errorf("publishing on: %v", failed)
	}
}
