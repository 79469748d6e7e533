package sink

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"walpost/schema"
)

// Stdout writes events as JSON lines, for people: no broker, no lanes. A line is acked once it is written. Publish and Flush belong to
// one goroutine.
type Stdout struct {
	out   *bufio.Writer
	topic schema.Template
	acks  Acks

	composer composer
	tally    tally // of what is buffered
}

// NewStdout returns a sink that writes to w and names topics and sources as a Kafka sink with this configuration does.
func NewStdout(w io.Writer, cfg Config, acks Acks) *Stdout {
	return &Stdout{out: bufio.NewWriterSize(w, 64<<10), topic: cfg.Topic, acks: acks,
		composer: newComposer(&cfg, func(string) {})}
}

// line is what is written of an event.
type line struct {
	Topic     string            `json:"topic"`
	Partition *int32            `json:"partition,omitempty"` // where the row names it
	Key       *string           `json:"key"`
	Timestamp string            `json:"timestamp"`
	Headers   map[string]*value `json:"headers"`
	Value     *value            `json:"value"`
}

// value is a header's or a record's value: JSON as it is, text as a string, other bytes in base64.
type value struct {
	bytes []byte
	json  bool
}

func (v *value) MarshalJSON() ([]byte, error) {
	switch {
	case v.json && json.Valid(v.bytes):
		return v.bytes, nil
	case utf8.Valid(v.bytes):
		return json.Marshal(string(v.bytes))
	}
	return json.Marshal(map[string]string{"base64": base64.StdEncoding.EncodeToString(v.bytes)})
}

// Publish writes ev. An error is a *BadEvent, as with Kafka, or what the writer said.
func (s *Stdout) Publish(ev *schema.Event, tx uint64) (int, error) {
	name, err := appendTopic(nil, s.topic, ev)
	if err != nil {
		return 0, badRow(ev, "", err, "give the row a topic, or change outbox.topic")
	}
	if err := legalTopic(name); err != nil {
		return 0, badRow(ev, clip(name), err, "give the row a legal topic, or change outbox.topic")
	}
	rec, err := s.composer.compose(ev)
	if err != nil {
		return 0, badRow(ev, string(name), err, "correct what writes the row")
	}
	where, err := placeOf(ev)
	if err != nil {
		return 0, badRow(ev, string(name), err, "correct what writes the row")
	}
	l := line{Topic: string(name), Timestamp: time.UnixMilli(rec.Timestamp).UTC().Format(time.RFC3339Nano), Headers: map[string]*value{}}
	if where.explicit >= 0 {
		l.Partition = &where.explicit
	}
	if rec.Key != nil {
		key := string(rec.Key)
		l.Key = &key
	}
	if rec.Value != nil {
		l.Value = &value{bytes: rec.Value, json: ev.Content == schema.JSON}
	}
	for _, h := range rec.Headers {
		var v *value
		if h.Value != nil {
			v = &value{bytes: h.Value}
		}
		l.Headers[h.Text()] = v
	}
	b, err := json.Marshal(l)
	if err == nil {
		_, err = s.out.Write(append(b, '\n'))
	}
	if err != nil {
		return 0, fmt.Errorf("write event %s: %w", clip(ev.Values[schema.ID]), err)
	}
	s.tally.count(tx, len(b))
	return len(b), nil
}

// Flush writes what is buffered and acks it. Events that could not be written are never acked: nobody has seen them.
func (s *Stdout) Flush(bool) {
	s.composer.now = time.Now()
	if len(s.tally.runs) == 0 {
		return
	}
	if err := s.out.Flush(); err != nil {
		s.acks.Rejected(s.tally.runs[0].Tx, fmt.Errorf("write events to the output: %w", err))
		return
	}
	s.acks.Acked(s.tally.runs, s.tally.held)
	s.tally.runs, s.tally.held = s.tally.runs[:0], 0
}

// Close does nothing: whoever gave the writer closes it.
func (s *Stdout) Close() error { return nil }
