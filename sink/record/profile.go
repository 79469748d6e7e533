package record

import (
	"fmt"

	"walpost/schema"
	"walpost/sink/recordbatch"
)

// Profile is the style of a record's headers. Every record also has the header id and the pairs of the headers column.
type Profile uint8

// The profiles. The payload, the key, the partition and the timestamp are the same in each.
const (
	CloudEvents Profile = iota // ce_* and content-type, in the binary mode of CloudEvents' Kafka binding
	Debezium                   // what consumers of Debezium's outbox event router know, plus the position
)

// ParseProfile returns a profile by its name in the configuration.
func ParseProfile(name string) (Profile, error) {
	switch name {
	case "cloudevents":
		return CloudEvents, nil
	case "debezium":
		return Debezium, nil
	}
	return CloudEvents, fmt.Errorf("profile %q: unknown; one of cloudevents, debezium", name)
}

// HasType reports whether records of the profile have the event's type.
func (p Profile) HasType() bool { return p == CloudEvents }

// The names of the headers that walpost adds, encoded once.
var (
	nameID          = recordbatch.EncodeName("id")
	nameSpecVersion = recordbatch.EncodeName("ce_specversion")
	nameCEID        = recordbatch.EncodeName("ce_id")
	nameSource      = recordbatch.EncodeName("ce_source")
	nameType        = recordbatch.EncodeName("ce_type")
	nameSubject     = recordbatch.EncodeName("ce_subject")
	nameTime        = recordbatch.EncodeName("ce_time")
	nameSequence    = recordbatch.EncodeName("ce_sequence")
	nameContentType = recordbatch.EncodeName("content-type")
	namePosition    = recordbatch.EncodeName("walpost_position")

	specVersion  = []byte("1.0")
	contentTypes = [...][]byte{
		schema.JSON:  []byte("application/json"),
		schema.Text:  []byte("text/plain"),
		schema.Bytes: []byte("application/octet-stream"),
	}
)

// appendCloudEvent appends the attributes of a CloudEvent.
func (c *Composer) appendCloudEvent(h []recordbatch.Header, ev *schema.Event) ([]recordbatch.Header, error) {
	typ := ev.TypeOrAggregate()
	if len(typ) == 0 {
		return h, errNoType
	}
	h = append(h,
		recordbatch.Header{Name: nameSpecVersion, Value: specVersion},
		recordbatch.Header{Name: nameCEID, Value: ev.Values[schema.ID]},
		recordbatch.Header{Name: nameSource, Value: c.source},
		recordbatch.Header{Name: nameType, Value: typ})
	if key := ev.Values[schema.AggregateID]; key != nil {
		h = append(h, recordbatch.Header{Name: nameSubject, Value: key})
	}
	c.pos, _ = ev.Position.AppendText(c.pos[:0])
	return append(h,
		recordbatch.Header{Name: nameTime, Value: c.Time(ev)},
		recordbatch.Header{Name: nameSequence, Value: c.pos}), nil
}

// appendPosition appends the header with the position of an event in the WAL, for profile Debezium: the source and the position. Between
// them is a space, which a source never contains.
func (c *Composer) appendPosition(h []recordbatch.Header, ev *schema.Event) []recordbatch.Header {
	c.pos = append(append(c.pos[:0], c.source...), ' ')
	c.pos, _ = ev.Position.AppendText(c.pos)
	return append(h, recordbatch.Header{Name: namePosition, Value: c.pos})
}
