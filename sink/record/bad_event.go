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

// BadEvent is the error of an event that can never become a record. The reason is the event itself, and not the state of Kafka.
type BadEvent struct {
	ID, Type, Topic, Key string // as far as they are known
	Position             string // its position, in the form of ce_sequence
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

// Reason returns the reason code, which is a label in metrics.
func (e *BadEvent) Reason() reason.Code { return e.Code }

// Detail returns the text for the event's dead letter: the error, and what helps if a retry cannot.
func (e *BadEvent) Detail() string {
	if !e.incurable {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v; a retry cannot help: discard the event, and %s", e.Err, e.Cure)
}

// Incurable reports whether no setting of walpost or of the topic can help, so that only another row would be a record.
func (e *BadEvent) Incurable() bool { return e.incurable }

func orNull(s string) string {
	if s == "" {
		return "without id"
	}
	return s
}

// BadRow returns the error of an outbox row that can never be a record. Its cure is to write other rows, unless the caller knows a better
// one.
func BadRow(ev *schema.Event, topic string, err error) *BadEvent {
	return &BadEvent{ID: clip(ev.Values[schema.ID]), Type: clip(ev.TypeOrAggregate()), Topic: topic, Key: clip(ev.Values[schema.AggregateID]),
		Position: ev.Position.String(), Code: kafkaerror.Reason(err), Err: err, Cure: "correct the code that writes such rows", incurable: true}
}

// TooLarge returns the error of an outbox row whose record has size bytes, more than the limit of walpost. No broker has seen it, and no
// setting of a topic helps.
func TooLarge(ev *schema.Event, topic string, size, limit int) *BadEvent {
	e := BadRow(ev, topic, fmt.Errorf("its record has %d bytes, and walpost sends none that is larger than %d MB", size, limit/1_000_000))
	e.Code, e.Cure = reason.MessageTooLarge, "publish a reference instead of the content"
	return e
}

// TooManyTopics returns the error for a row whose topic would be one too many. It is passed to [BadTopic].
func TooManyTopics(most int) error {
	return reason.With(reason.TooManyTopics, fmt.Errorf("the rows of one day name more than %d topics, which is the maximum", most))
}

// BadTopic returns the error of an outbox row whose topic has no name, or a name that Kafka does not allow. The row can become a record if
// outbox.topic gives it another name.
func BadTopic(ev *schema.Event, name []byte, err error) *BadEvent {
	e := BadRow(ev, clip(name), err)
	if code := reason.Of(err); code != "" {
		e.Code = code
		e.Cure, e.incurable = "set outbox.topic to a template that gives fewer topics, and use the key or a header for the rest", ev.Values[schema.Topic] != nil
		return e
	}
	if ev.Values[schema.Topic] != nil {
		e.Cure = "correct the code that fills the column topic"
		return e
	}
	e.Cure, e.incurable = "change outbox.topic, or correct the code that writes such rows", false
	return e
}

// BadRecord returns the error of an event that is already a record. typ is its type if the record does not have it. The cure follows from err.
func BadRecord(topic string, r recordbatch.Raw, typ []byte, err error) *BadEvent {
	rec := r.Record()
	e := &BadEvent{Type: clip(typ), Topic: topic, Key: clip(rec.Key), Code: kafkaerror.Reason(err), Err: err, Cure: kafkaerror.Cure(err)}
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

// BadPartition returns the error of an event that is already a record, and whose row names a partition that does not exist. count is the
// number of the topic's partitions. typ is as for [BadRecord].
func BadPartition(topic string, r recordbatch.Raw, typ []byte, partition int32, count int) *BadEvent {
	e := BadRecord(topic, r, typ, fmt.Errorf("column partition: the topic has no partition %d, only 0 to %d", partition, count-1))
	e.Cure = "add partitions to the topic, or correct the code that fills the column"
	return e
}

// clip shortens a value for a message.
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
