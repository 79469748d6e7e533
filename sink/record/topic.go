package record

import (
	"errors"

	"walpost/schema"
)

// AppendTopic appends the name of an event's topic: the row's own, else the template's. On an error nothing is appended.
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

// CheckTopic returns an error if Kafka does not take the name. Its answer to a produce request does not tell an illegal name from an absent
// topic.
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
