package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"walpost/sink/recordbatch"
)

// headerReader turns the headers column into record headers. It encodes names that recur only once.
type headerReader struct {
	names map[string][]byte
}

// maxNames limits the number of remembered names: a producer that uses ever new names must not fill the memory.
const maxNames = 1024

var (
	errNoObject = errors.New("not a JSON object")
	errNoJSON   = errors.New("not valid JSON")
)

// append appends the pairs of a JSON object to h, in the object's order. A string becomes its text, null a null value, and anything else
// compact JSON. Reserved names are left out, and passed to reserved. content reports whether a content-type was among the names. The values
// point into object where possible: encoding/json would allocate some ten times per event.
func (r *headerReader) append(h []recordbatch.Header, object []byte, reserved func(name string)) (_ []recordbatch.Header, content bool, _ error) {
	if !json.Valid(object) {
		return h, false, errNoJSON
	}
	rest := space(object)
	if rest[0] != '{' {
		return h, false, errNoObject
	}
	// The text is valid JSON from here on, so nothing can be missing.
	for rest = space(rest[1:]); rest[0] != '}'; {
		var quoted, raw []byte
		quoted, rest = cutValue(rest)
		raw, rest = cutValue(space(rest[1:])) // after the colon
		if rest[0] == ',' {
			rest = space(rest[1:])
		}
		name := unquote(quoted)
		if isReserved(name) {
			reserved(string(name))
			continue
		}
		content = content || string(name) == "content-type"
		h = append(h, recordbatch.Header{Name: r.encoded(name), Value: headerValue(raw)})
	}
	return h, content, nil
}

func (r *headerReader) encoded(name []byte) []byte {
	if n, ok := r.names[string(name)]; ok {
		return n
	}
	n := recordbatch.EncodeName(string(name))
	if len(r.names) < maxNames {
		if r.names == nil {
			r.names = map[string][]byte{}
		}
		r.names[string(name)] = n
	}
	return n
}

// Reserved reports whether walpost uses a header name itself: id, and names that begin with ce_ or walpost_.
func Reserved(name string) bool { return isReserved([]byte(name)) }

func isReserved(name []byte) bool {
	return string(name) == "id" || bytes.HasPrefix(name, []byte("ce_")) || bytes.HasPrefix(name, []byte("walpost_"))
}

func headerValue(raw []byte) []byte {
	switch raw[0] {
	case 'n':
		return nil
	case '"':
		return unquote(raw)
	case '{', '[':
		var b bytes.Buffer
		_ = json.Compact(&b, raw) // fails only on invalid JSON
		return b.Bytes()
	}
	return raw
}

const jsonSpace = " \t\r\n"

func space(b []byte) []byte { return bytes.TrimLeft(b, jsonSpace) }

// cutValue returns the value at the start of a valid text, and the rest without the spaces in between.
func cutValue(b []byte) (value, rest []byte) {
	depth := 0
	for i := 0; ; i++ {
		switch c := b[i]; {
		case c == '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case c == '{', c == '[':
			depth++
			continue
		case c == '}', c == ']':
			depth--
		case strings.IndexByte(jsonSpace+",:", c) >= 0:
			continue
		default: // a number or a literal
			for i+1 < len(b) && strings.IndexByte(jsonSpace+",:}]", b[i+1]) < 0 {
				i++
			}
		}
		if depth == 0 {
			return b[:i+1], space(b[i+1:])
		}
	}
}

// unquote returns the text of a JSON string.
func unquote(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // fails only on invalid JSON
	return []byte(s)
}
