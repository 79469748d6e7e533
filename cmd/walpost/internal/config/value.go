package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Secret is a value that must not be shown: printing it gives ***.
type Secret string

// String returns three asterisks, or "" if there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString returns the same as String, for %#v.
func (s Secret) GoString() string { return s.String() }

const mask = "***"

// Size is a number of bytes. In a configuration it may have a unit: 1000000, 512KiB, 32MiB, 1GB.
type Size int64

var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}

// String returns the size as it may be written in a configuration, with a binary unit if that is exact.
func (s Size) String() string {
	for _, u := range []int{2, 1, 0} {
		if n := units[u].bytes; s != 0 && int64(s)%n == 0 {
			return strconv.FormatInt(int64(s)/n, 10) + units[u].name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

var errSize = errors.New("is not a size; write a number of bytes, or a number with KiB, MiB or GiB, such as 32MiB")

func parseSize(text string) (Size, error) {
	number, unit := text, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = strings.TrimSpace(n), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, errSize
	}
	return Size(n * unit), nil
}

// Headers are names and values. In the file they are keys below the key; elsewhere they are one text, as String returns it.
type Headers map[string]string

// String returns name=value,name2=value2, in the order of the names.
func (h Headers) String() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		pairs = append(pairs, name+"="+h[name])
	}
	return strings.Join(pairs, ",")
}

// parseHeaders reads name=value,name2=value2, with or without spaces around names and values. A value cannot contain a comma there.
func parseHeaders(text string) (Headers, error) {
	h := Headers{}
	if strings.TrimSpace(text) == "" {
		return h, nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		if _, twice := h[name]; !ok || twice {
			return nil, errHeaders
		}
		h[name] = strings.TrimSpace(value)
	}
	return h, nil
}

var errHeaders = errors.New("is not a list of headers; write name=value,name2=value2, each name once, or set a value that has a comma in the file")

// set parses text and sets the key to the value. The error quotes text and says what is wrong with it; a secret never gives an error.
func (c *Config) set(k *key, text string) error {
	field := reflect.ValueOf(c).Elem().FieldByIndex(k.field)
	var err error
	switch p := field.Addr().Interface().(type) {
	case *string:
		*p = text
	case *Secret:
		*p = Secret(text)
	case *bool:
		if text != "true" && text != "false" {
			err = errors.New("is neither true nor false")
		}
		*p = text == "true"
	case *int:
		var n int64
		if n, err = strconv.ParseInt(text, 10, 32); err != nil {
			err = errors.New("is not a whole number")
		}
		*p = int(n)
	case *Size:
		*p, err = parseSize(text)
	case *Headers:
		*p, err = parseHeaders(text)
	case *time.Duration:
		if *p, err = time.ParseDuration(text); err != nil {
			err = errors.New("is not a duration; write a number with ms, s, m or h, such as 10s")
		}
	default:
		panic("config: no way to set a " + field.Type().String())
	}
	if err != nil {
		// The default stays, so that this mistake does not cause further errors.
		field.Set(reflect.ValueOf(Default()).Elem().FieldByIndex(k.field))
		return fmt.Errorf("%q %w", text, err)
	}
	return nil
}

// text returns the key's value as it may be written in a configuration, with secrets masked.
func (c *Config) text(k *key) string {
	if k.path == "postgres.url" {
		return redactConnString(string(c.Postgres.URL))
	}
	text := fmt.Sprint(reflect.ValueOf(c).Elem().FieldByIndex(k.field).Interface())
	if scheme, rest, ok := strings.Cut(text, "://"); ok { // a token's endpoint that contains a password is refused, and the password is not shown
		return scheme + "://" + redactURL(rest)
	}
	return text
}
