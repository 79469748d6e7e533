package schema

import (
	"errors"
	"fmt"
	"strings"
)

// Template makes a topic's name from an event. It consists of literal text and columns, by their configuration keys in braces, as in
// outbox.event.{aggregatetype}. It is immutable.
type Template struct {
	text  string
	parts []templatePart
}

// templatePart is a literal, or a column if the literal is empty.
type templatePart struct {
	literal string
	column  Column
}

// ParseTemplate reads a template. Only columns that m maps may be in braces, and no times, because their text cannot be in a topic's name.
// The literal text may have only the characters that Kafka allows in a topic's name: letters, digits, dot, underscore and minus.
func ParseTemplate(s string, m Mapping) (Template, error) {
	t := Template{text: s}
	rest := s
	for rest != "" {
		literal, after, braces := strings.Cut(rest, "{")
		if i := strings.IndexFunc(literal, notInTopic); i >= 0 {
			return Template{}, fmt.Errorf("topic template %q: %q cannot stand in a topic's name: "+
				"Kafka allows letters, digits, dot, underscore and minus", s, literal[i:i+1])
		}
		if literal != "" {
			t.parts = append(t.parts, templatePart{literal: literal})
		}
		if !braces {
			break
		}
		key, next, closed := strings.Cut(after, "}")
		if !closed {
			return Template{}, fmt.Errorf("topic template %q: a brace is not closed", s)
		}
		c, err := templateColumn(key, m)
		if err != nil {
			return Template{}, fmt.Errorf("topic template %q: %w", s, err)
		}
		t.parts = append(t.parts, templatePart{column: c})
		rest = next
	}
	if len(t.parts) == 0 {
		return Template{}, errors.New("topic template is empty: name a topic, for example outbox.event.{aggregatetype}")
	}
	if name, ok := t.Constant(); ok && (len(name) > longestTopic || name == "." || name == "..") {
		return Template{}, fmt.Errorf("topic template %q: no topic can have that name: Kafka allows 1 to %d characters, and . and .. are no names", s, longestTopic)
	}
	return t, nil
}

// longestTopic is the maximal length of a topic's name.
const longestTopic = 249

func notInTopic(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
}

func templateColumn(key string, m Mapping) (Column, error) {
	c, ok := ParseColumn(key)
	switch {
	case !ok:
		if near := nearest(key, columnNames[:]); near != "" {
			return 0, fmt.Errorf("no column {%s}; did you mean {%s}?", key, near)
		}
		return 0, fmt.Errorf("no column {%s}: name one by its key below outbox.columns", key)
	case c == CreatedAt || c == Timestamp:
		return 0, fmt.Errorf("column {%s} is a time, and no topic's name can be made from that", key)
	case m.Names[c] == "":
		return 0, fmt.Errorf("column {%s} is not mapped: name the table's column by outbox.columns.%[1]s", key)
	}
	return c, nil
}

// String returns the template as it was written.
func (t Template) String() string { return t.text }

// Constant returns the template's name and true if the template has no columns, so that every event gives the same name.
func (t Template) Constant() (name string, ok bool) {
	if len(t.parts) != 1 || t.parts[0].literal == "" {
		return "", false
	}
	return t.parts[0].literal, true
}

// room returns how long the values of column c may be, so that the topic's name with the template's literals does not become too long. The
// result is never larger than most. It is 0 if the template does not use the column.
func (t Template) room(c Column, most int) int {
	literals, uses := 0, 0
	for _, p := range t.parts {
		literals += len(p.literal)
		if p.literal == "" && p.column == c {
			uses++
		}
	}
	if uses == 0 {
		return 0
	}
	return max(1, min(most, (longestTopic-literals)/uses))
}

// Append appends the topic's name for ev. If the type is empty, the aggregatetype takes its place, as everywhere. A NULL is an error. The
// caller checks whether Kafka accepts the name.
func (t Template) Append(dst []byte, ev *Event) ([]byte, error) {
	for _, p := range t.parts {
		if p.literal != "" {
			dst = append(dst, p.literal...)
			continue
		}
		v := ev.Values[p.column]
		if p.column == Type {
			v = ev.TypeOrAggregate()
		}
		if v == nil {
			return dst, fmt.Errorf("topic template %q: column %s is NULL", t.text, p.column)
		}
		dst = append(dst, v...)
	}
	return dst, nil
}

// CheckTemplate returns an error if the table of p cannot feed t: each column in braces must exist and must not be bytea.
func (p *Plan) CheckTemplate(t Template) error {
	var problems []error
	for _, part := range t.parts {
		switch {
		case part.literal != "":
		case !p.Has(part.column):
			problems = append(problems, fmt.Errorf("topic template %q: table %s has no column for {%s}", t.text, p.table, part.column))
		case p.kinds[part.column] == kindBytea:
			problems = append(problems, fmt.Errorf("topic template %q: table %s: column {%s} is bytea, and a topic's name is text",
				t.text, p.table, part.column))
		}
	}
	return errors.Join(problems...)
}
