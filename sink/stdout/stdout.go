// Package stdout prints events as lines of JSON, for people and jq. It needs no broker.
//
// A line shows the record that Kafka would get with the same [record.Config]. The order of the lines is the order of the calls of
// [Printer.Print]. They are written once [Printer.Flush] has returned without an error. The caller decides what to do with an event that
// could never be published.
package stdout

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

// Printer writes events as lines of JSON. It belongs to one goroutine.
type Printer struct {
	out *bufio.Writer

	composer *record.Composer
	line     bytes.Buffer
	encoder  *json.Encoder // writes into line
}

// New returns a printer that writes to w. It makes records like a Kafka sink with this configuration.
func New(w io.Writer, cfg record.Config) *Printer {
	p := &Printer{out: bufio.NewWriterSize(w, 64<<10), composer: record.NewComposer(cfg, func(string) {})}
	p.encoder = json.NewEncoder(&p.line)
	p.encoder.SetEscapeHTML(false)
	return p
}

// line is the printed form of an event. Headers shows all headers as Kafka gets them, with either profile. The fields that people look for
// most also stand on their own.
type line struct {
	Topic     string            `json:"topic"`
	Partition *int32            `json:"partition,omitempty"` // if the row names one
	Key       *value            `json:"key"`
	ID        *value            `json:"id"`
	Type      *value            `json:"type"`
	Time      string            `json:"time"`      // ce_time
	Sequence  string            `json:"sequence"`  // ce_sequence
	Timestamp string            `json:"timestamp"` // timestamp of the record
	Headers   map[string]*value `json:"headers"`
	Payload   *value            `json:"payload"`
}

// value is a value that may not be text.
type value struct {
	bytes   []byte
	content schema.Content
}

// text returns b as a value that is printed as text if possible; nil for nil.
func text(b []byte) *value { return valueOf(b, schema.Text) }

func valueOf(b []byte, content schema.Content) *value {
	if b == nil {
		return nil
	}
	return &value{b, content}
}

// MarshalJSON returns JSON as it is, text as a string, and bytes as {"base64": "..."}. Text that a JSON string cannot hold also becomes
// base64. A bytea is always base64, whatever it holds: programs that read it want one form.
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

// Print writes ev into a buffer. An error is a [*record.BadEvent], for an event that could not be published either. Then nothing of the
// event is written.
func (p *Printer) Print(ev *schema.Event) error {
	name, err := p.composer.AppendTopic(nil, ev)
	if err != nil {
		return record.BadTopic(ev, nil, err)
	}
	if err := record.CheckTopic(name); err != nil {
		return record.BadTopic(ev, name, err)
	}
	l, err := p.compose(ev)
	if err != nil {
		return record.BadRow(ev, string(name), err)
	}
	l.Topic = string(name)
	p.line.Reset()
	if err := p.encoder.Encode(l); err != nil {
		bad := record.BadRow(ev, l.Topic, fmt.Errorf("it cannot be written as JSON: %w", err))
		bad.Cure = ""
		return bad
	}
	p.out.Write(p.line.Bytes()) // the writer keeps an error, and Flush returns it
	return nil
}

// compose makes a line without its topic.
func (p *Printer) compose(ev *schema.Event) (*line, error) {
	rec, err := p.composer.Compose(ev)
	if err != nil {
		return nil, err
	}
	where, err := record.PlaceOf(ev)
	if err != nil {
		return nil, err
	}
	l := &line{
		Key: text(rec.Key), ID: text(ev.Values[schema.ID]), Type: text(ev.TypeOrAggregate()),
		Time: string(p.composer.Time(ev)), Sequence: ev.Position.String(),
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

// Flush writes the printed events to the writer. An error is the writer's. All later calls return it too.
func (p *Printer) Flush() error {
	p.composer.SetNow(time.Now())
	return p.out.Flush()
}
