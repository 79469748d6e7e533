package record

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"walpost/internal/reason"
	"walpost/schema"
	"walpost/sink/kafkaerror"
	"walpost/sink/recordbatch"
)

// BadEvent is the error of an event that can never become a record: because of what it is, not of how Kafka is doing.
type BadEvent struct {
	ID, Type, Topic, Key string // as far as they are known
	Position             string // the text of its position, as in ce_sequence
	Code                 reason.Code
	Err                  error
	Cure                 string

	incurable bool // see Incurable
}

// Error names the event, then the reason and the cure.
func (e *BadEvent) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "event %s", orNull(e.ID))
	for _, f := range [...]struct{ name, value string }{{"type", e.Type}, {"topic", e.Topic}, {"key", e.Key}, {"at", e.Position}} {
		if f.value != "" {
			fmt.Fprintf(&b, ", %s %s", f.name, f.value)
		}
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if e.Cure != "" {
		fmt.Fprintf(&b, "; %s", e.Cure)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *BadEvent) Unwrap() error { return e.Err }

// Reason returns the code, which metrics have as a label.
func (e *BadEvent) Reason() reason.Code { return e.Code }

// Incurable reports whether there is no setting to correct, neither of walpost nor of the topic: only another row would be a record.
func (e *BadEvent) Incurable() bool { return e.incurable }

func orNull(s string) string {
	if s == "" {
		return "without id"
	}
	return s
}

// BadRow returns the error of an outbox row that can never be a record. Its cure is another row, unless the caller knows a better one.
func BadRow(ev *schema.Event, topic string, err error) *BadEvent {
	return &BadEvent{ID: clip(ev.Values[schema.ID]), Type: clip(ev.TypeOrAggregate()), Topic: topic, Key: clip(ev.Values[schema.AggregateID]),
		Position: ev.Position.String(), Code: kafkaerror.Reason(err), Err: err, Cure: "correct what writes such rows", incurable: true}
}

// TooManyTopics returns the error, for [BadTopic], of a row whose topic is one more than there may be.
func TooManyTopics(most int) error {
	return reason.With(reason.TooManyTopics, fmt.Errorf("rows of one day name more than %d topics, which is the most that walpost publishes to", most))
}

// BadTopic returns the error of an outbox row whose topic has no name or one that no topic can have. It becomes a record where outbox.topic
// makes another name of it.
func BadTopic(ev *schema.Event, name []byte, err error) *BadEvent {
	e := BadRow(ev, clip(name), err)
	if code := reason.Of(err); code != "" {
		e.Code = code
		e.Cure, e.incurable = "set outbox.topic to a template that makes fewer, and use the key or a header for the rest", ev.Values[schema.Topic] != nil
		return e
	}
	if ev.Values[schema.Topic] != nil {
		e.Cure = "correct what fills the column topic"
		return e
	}
	e.Cure, e.incurable = "change outbox.topic, or correct what writes such rows", false
	return e
}

// BadRecord returns the error of an event that is a record already. The cure follows from err.
func BadRecord(topic string, r recordbatch.Raw, err error) *BadEvent {
	rec := r.Record()
	e := &BadEvent{Topic: topic, Key: clip(rec.Key), Code: kafkaerror.Reason(err), Err: err, Cure: kafkaerror.Cure(err)}
	for _, h := range rec.Headers {
		switch h.Text() {
		case "id":
			e.ID = clip(h.Value)
		case "ce_type":
			e.Type = clip(h.Value)
		case "ce_sequence":
			e.Position = string(h.Value)
		case "walpost_position":
			e.Position = string(h.Value[bytes.LastIndexByte(h.Value, ' ')+1:])
		}
	}
	return e
}

// BadPartition returns the error of an event that is a record already, and whose row names a partition that a topic of count ones does not
// have.
func BadPartition(topic string, r recordbatch.Raw, partition int32, count int) *BadEvent {
	e := BadRecord(topic, r, fmt.Errorf("column partition: the topic has no partition %d, only 0 to %d", partition, count-1))
	e.Cure = "add partitions to the topic, or correct what fills the column"
	return e
}

// clip makes a value fit into a message.
func clip(v []byte) string {
	const longest = 100
	if len(v) > longest {
		return fmt.Sprintf("%q…", v[:longest])
	}
	if s := string(v); strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	return fmt.Sprintf("%q", v)
}

func unprintable(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }
