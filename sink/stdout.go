package sink

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"walpost/schema"
	"walpost/sink/record"
)

// Stdout writes events as lines of JSON, for people and jq: no broker, no lanes. A line tells the record that Kafka would get. It belongs
// to one goroutine.
type Stdout struct {
	out *bufio.Writer

	composer *record.Composer
	line     bytes.Buffer
	encoder  *json.Encoder // into line
}

// NewStdout returns a sink that writes to w and makes records as a Kafka sink with this configuration does.
func NewStdout(w io.Writer, cfg record.Config) *Stdout {
	s := &Stdout{out: bufio.NewWriterSize(w, 64<<10), composer: record.NewComposer(cfg, func(string) {})}
	s.encoder = json.NewEncoder(&s.line)
	s.encoder.SetEscapeHTML(false)
	return s
}

// line is what is written of an event. What the headers hold besides stands there as it does in Kafka, in either profile; the fields that
// people ask for first have a place of their own.
type line struct {
	Topic     string            `json:"topic"`
	Partition *int32            `json:"partition,omitempty"` // where the row names it
	Key       *value            `json:"key"`
	ID        *value            `json:"id"`
	Type      *value            `json:"type"`
	Time      string            `json:"time"`      // ce_time
	Sequence  string            `json:"sequence"`  // ce_sequence
	Timestamp string            `json:"timestamp"` // the record's
	Headers   map[string]*value `json:"headers"`
	Payload   *value            `json:"payload"`
}

// value is what may be no text.
type value struct {
	bytes   []byte
	content schema.Content
}

// text is a value that is text unless it cannot be; nil for none.
func text(b []byte) *value { return valueOf(b, schema.Text) }

func valueOf(b []byte, content schema.Content) *value {
	if b == nil {
		return nil
	}
	return &value{b, content}
}

// MarshalJSON returns JSON as it is, text as a string, and bytes as {"base64": "..."}, which is also what becomes of text that JSON has no
// string for. A bytea is that whatever it holds: whoever reads it by a program wants one shape.
func (v *value) MarshalJSON() ([]byte, error) {
	switch {
	case v.content == schema.JSON && json.Valid(v.bytes):
		return v.bytes, nil
	case v.content != schema.Bytes && utf8.Valid(v.bytes):
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		err := e.Encode(string(v.bytes))
		return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
	}
	return json.Marshal(map[string]string{"base64": base64.StdEncoding.EncodeToString(v.bytes)})
}

// Print writes ev into a buffer. An error is a *BadEvent, of an event that could never be published either: nothing is written of it.
func (s *Stdout) Print(ev *schema.Event) error {
	name, err := s.composer.AppendTopic(nil, ev)
	if err != nil {
		return record.BadTopic(ev, nil, err)
	}
	if err := record.CheckTopic(name); err != nil {
		return record.BadTopic(ev, name, err)
	}
	l, err := s.compose(ev)
	if err != nil {
		return record.BadRow(ev, string(name), err)
	}
	l.Topic = string(name)
	s.line.Reset()
	if err := s.encoder.Encode(l); err != nil {
		bad := record.BadRow(ev, l.Topic, fmt.Errorf("it cannot be told as JSON: %w", err))
		bad.Cure = ""
		return bad
	}
	s.out.Write(s.line.Bytes()) // an error stays, for Flush to return
	return nil
}

// compose makes all of a line but the topic.
func (s *Stdout) compose(ev *schema.Event) (*line, error) {
	rec, err := s.composer.Compose(ev)
	if err != nil {
		return nil, err
	}
	where, err := record.PlaceOf(ev)
	if err != nil {
		return nil, err
	}
	l := &line{
		Key: text(rec.Key), ID: text(ev.Values[schema.ID]), Type: text(ev.TypeOrAggregate()),
		Time: string(s.composer.Time(ev)), Sequence: ev.Position.String(),
		Timestamp: time.UnixMilli(rec.Timestamp).UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		Headers:   make(map[string]*value, len(rec.Headers)), Payload: valueOf(rec.Value, ev.Content),
	}
	if where.Partition >= 0 {
		l.Partition = &where.Partition
	}
	for _, h := range rec.Headers {
		l.Headers[h.Text()] = text(h.Value)
	}
	return l, nil
}

// Flush writes out what was printed. An error is that of the writer, and stays.
func (s *Stdout) Flush() error {
	s.composer.SetNow(time.Now())
	return s.out.Flush()
}
