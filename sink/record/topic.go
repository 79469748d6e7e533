package record

import (
	"errors"

	"walpost/schema"
)

// AppendTopic appends the name of an event's topic to dst: the row's own topic, else the template's. On an error it appends nothing.
func (c *Composer) AppendTopic(dst []byte, ev *schema.Event) ([]byte, error) {
	if name := ev.Values[schema.Topic]; name != nil {
		return append(dst, name...), nil
	}
	name, err := c.topic.Append(dst, ev)
	if err != nil {
		return dst, err
	}
	return name, nil
}

// CheckTopic returns an error if Kafka does not allow the name. This check is needed because brokers answer a produce request the same way
// for an illegal name and for a topic that does not exist.
func CheckTopic(name []byte) error {
	if len(name) == 0 || len(name) > 249 || string(name) == "." || string(name) == ".." {
		return errTopicName
	}
	for _, c := range name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return errTopicName
		}
	}
	return nil
}

var errTopicName = errors.New("a topic name has 1 to 249 characters, each a letter, a digit, a dot, _ or -, and is neither . nor .. itself")
