package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"walpost/sink/recordbatch"
)

// readHeaders returns the pairs as name=value, null values as name alone, and the refused names.
func readHeaders(r *headerReader, object string) (pairs, refused []string, content bool, err error) {
	h, content, err := r.append(nil, []byte(object), func(name string) { refused = append(refused, name) })
	for _, h := range h {
		if h.Value == nil {
			pairs = append(pairs, h.Text())
			continue
		}
		pairs = append(pairs, h.Text()+"="+string(h.Value))
	}
	return pairs, refused, content, err
}

func TestHeadersColumn(t *testing.T) {
	for object, want := range map[string][]string{
		`{}`:                                    nil,
		" \t\r\n{ \n} ":                         nil,
		`{"a":"1"}`:                             {"a=1"},
		`{"z":"1","a":"2","m":"3"}`:             {"z=1", "a=2", "m=3"},
		` { "z" : "1" , "a" : "2" } `:           {"z=1", "a=2"},
		`{"a":null}`:                            {"a"},
		`{"a":null,"b":""}`:                     {"a", "b="},
		`{"":"x"}`:                              {"=x"},
		`{"a":true,"b":false}`:                  {"a=true", "b=false"},
		`{"a":0,"b":-1.50,"c":1E+400}`:          {"a=0", "b=-1.50", "c=1E+400"},
		`{"a":123456789012345678901234567890}`:  {"a=123456789012345678901234567890"},
		`{"a":{ "b" : [ 1 , "x y" , null ] } }`: {`a={"b":[1,"x y",null]}`},
		`{"a":[ ],"b":{ }}`:                     {"a=[]", "b={}"},
		`{"a":"<&>\u2028"}`:                     {"a=<&>\u2028"},
		`{"a":["<&>"]}`:                         {`a=["<&>"]`},
		`{"a":"\u00e9\ud83d\ude00\n\"\\\/"}`:    {"a=é😀\n\"\\/"},
		`{"\u0061b":"x"}`:                       {"ab=x"},
		`{"a":"1","a":"2"}`:                     {"a=1", "a=2"},
		`{"ключ":"значение"}`:                   {"ключ=значение"},
		`{"a":"}","b":"{,:\""}`:                 {"a=}", `b={,:"`},
		`{"a":["}",{"x":"]"}],"b":1}`:           {`a=["}",{"x":"]"}]`, "b=1"},
		`{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","tracestate":"a=b"}`: {
			"traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate=a=b"},
	} {
		got, refused, content, err := readHeaders(&headerReader{}, object)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || len(got) != len(want) || refused != nil || content {
			t.Errorf("%s: %q, refused %q, content-type %t, %v; want %q", object, got, refused, content, err, want)
		}
	}
}

func TestHeadersColumnIsNoObject(t *testing.T) {
	for _, object := range []string{`null`, `[]`, `["a"]`, `"a"`, `1`, `true`, ` "{}" `} {
		if got, _, _, err := readHeaders(&headerReader{}, object); err != errNoObject {
			t.Errorf("%s: %q, %v", object, got, err)
		}
	}
	for _, object := range []string{``, ` `, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1}{}`, `{"a":1} x`, `{"a":1}]`, `{'a':1}`, `{"a":01}`, `{"a":"\x"}`, `{a:1}`, `{"a":nul}`} {
		if got, _, _, err := readHeaders(&headerReader{}, object); err != errNoJSON {
			t.Errorf("%s: %q, %v", object, got, err)
		}
	}
}

func TestHeadersColumnReserved(t *testing.T) {
	got, refused, _, err := readHeaders(&headerReader{}, `{"id":"1","a":"1","ce_type":"x","ce_":"","walpost_position":"y","ID":"2","ce":"3","idx":"4","\u0069d":"5","walpost":"6"}`)
	if err != nil || fmt.Sprint(got) != "[a=1 ID=2 ce=3 idx=4 walpost=6]" || fmt.Sprint(refused) != "[id ce_type ce_ walpost_position id]" {
		t.Errorf("%q, refused %q, %v", got, refused, err)
	}
}

func TestHeadersColumnContentType(t *testing.T) {
	for object, want := range map[string]bool{
		`{"content-type":"text/xml"}`: true, `{"a":"1","content-type":null,"b":"2"}`: true,
		`{"Content-Type":"text/xml"}`: false, `{"a":"content-type"}`: false,
	} {
		if _, _, got, err := readHeaders(&headerReader{}, object); got != want || err != nil {
			t.Errorf("%s: content-type %t, %v", object, got, err)
		}
	}
}

// A producer that uses ever new names must not fill the memory.
func TestHeaderNamesAreBounded(t *testing.T) {
	r := &headerReader{}
	for i := range 3 * maxNames {
		want := fmt.Sprintf("[n%d=x]", i)
		if got, _, _, err := readHeaders(r, fmt.Sprintf(`{"n%d":"x"}`, i)); err != nil || fmt.Sprint(got) != want {
			t.Fatalf("%q, %v, want %s", got, err, want)
		}
	}
	if len(r.names) != maxNames {
		t.Errorf("%d names remembered", len(r.names))
	}
}

func TestHeadersColumnAllocatesNothing(t *testing.T) {
	r := &headerReader{}
	object := []byte(`{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tenant": "t-1", "n": 12, "gone": null}`)
	h := make([]recordbatch.Header, 0, 10)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := r.append(h, object, nil); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations per event", n)
	}
}

// FuzzHeaders compares the headers with what encoding/json reads token by token.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{`{}`, `null`, `{"a":"1","b":null,"c":[1,{"x":"}"}]}`, `{"a":"\u00e9\ud800","":-1.5e3}`, `{"a":1} x`, ` { "a" : { } , "b":true } `,
		`{"content-type":"\"","id":1}`, "{\"a\":\"\xff\"}", `{"a":"\\"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		got, refused, _, err := readHeaders(&headerReader{}, string(object))
		want, wantRefused, ok := tokens(object)
		if (err == nil) != ok {
			t.Fatalf("%q: %v, encoding/json takes it: %t", object, err, ok)
		}
		if !ok {
			return
		}
		if a, b := fmt.Sprintf("%q", got), fmt.Sprintf("%q", want); a != b && !replaced(object) {
			t.Fatalf("%q: %s, want %s", object, a, b)
		}
		if a, b := fmt.Sprintf("%q", refused), fmt.Sprintf("%q", wantRefused); a != b && !replaced(object) {
			t.Fatalf("%q: refused %s, want %s", object, a, b)
		}
	})
}

// replaced reports whether encoding/json puts U+FFFD where the text is not UTF-8. headerReader leaves such bytes as they are.
func replaced(object []byte) bool { return !bytes.Equal(bytes.ToValidUTF8(object, nil), object) }

func tokens(object []byte) (pairs, refused []string, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, false
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, nil, false
		}
		name := t.(string)
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, nil, false
		}
		var value strings.Builder
		var s *string
		if json.Unmarshal(raw, &s) == nil && s != nil {
			value.WriteString("=" + *s)
		} else if string(raw) != "null" {
			var b bytes.Buffer
			if err := json.Compact(&b, raw); err != nil {
				return nil, nil, false
			}
			value.WriteString("=" + b.String())
		}
		if name == "id" || strings.HasPrefix(name, "ce_") || strings.HasPrefix(name, "walpost_") {
			refused = append(refused, name)
			continue
		}
		pairs = append(pairs, name+value.String())
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, false
	}
	if len(bytes.TrimLeft(object[dec.InputOffset():], jsonSpace)) > 0 {
		return nil, nil, false
	}
	return pairs, refused, true
}
