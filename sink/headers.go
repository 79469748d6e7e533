package sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"walpost/sink/recordbatch"
)

// headerReader turns the headers column into record headers. Names that recur are encoded once.
type headerReader struct {
	names map[string][]byte
	text  bytes.Reader
}

// maxNames bounds the remembered names: a producer that makes names up must not fill the memory.
const maxNames = 1024

var errNoObject = errors.New("no JSON object")

// append adds the pairs of a JSON object to h, in its order: strings as they are, null as a null value, anything else as compact JSON.
// Reserved names are left out and reported. It says whether a content-type was among them.
func (r *headerReader) append(h []recordbatch.Header, object []byte, reserved func(name string)) (_ []recordbatch.Header, content bool, _ error) {
	r.text.Reset(object)
	dec := json.NewDecoder(&r.text)
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return h, false, errNoObject
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return h, false, err
		}
		name := t.(string) // a member's name is a string, or Token has failed
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return h, false, fmt.Errorf("%s: %w", name, err)
		}
		if isReserved(name) {
			reserved(name)
			continue
		}
		value, err := headerValue(raw)
		if err != nil {
			return h, false, fmt.Errorf("%s: %w", name, err)
		}
		content = content || name == "content-type"
		h = append(h, recordbatch.Header{Name: r.encoded(name), Value: value})
	}
	if _, err := dec.Token(); err != nil {
		return h, false, err
	}
	return h, content, nil
}

func (r *headerReader) encoded(name string) []byte {
	if n, ok := r.names[name]; ok {
		return n
	}
	n := recordbatch.EncodeName(name)
	if len(r.names) < maxNames {
		if r.names == nil {
			r.names = map[string][]byte{}
		}
		r.names[name] = n
	}
	return n
}

// isReserved names the headers that are walpost's own.
func isReserved(name string) bool {
	return name == "id" || strings.HasPrefix(name, "ce_") || strings.HasPrefix(name, "walpost_")
}

func headerValue(raw json.RawMessage) ([]byte, error) {
	switch raw[0] {
	case 'n':
		return nil, nil
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, err
		}
		return []byte(s), nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
