package config

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Print writes the configuration as YAML, with secrets masked. A comment after each value that is not a default says where it was set.
func (c *Config) Print(w io.Writer) error {
	var b strings.Builder
	c.print(&b, reflect.TypeFor[Config](), "")
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Config) print(b *strings.Builder, t reflect.Type, section string) {
	indent := ""
	if section != "" {
		indent = strings.Repeat("  ", strings.Count(section, ".")+1)
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("key")
		switch {
		case name == "":
		case f.Type.Kind() == reflect.Struct:
			fmt.Fprintf(b, "%s%s:\n", indent, name)
			c.print(b, f.Type, join(section, name))
		default:
			k := byPath[join(section, name)]
			text := c.text(k)
			switch {
			case k.later != "" && k.now == "":
				continue
			case k.later == text && text != "":
				text = k.now
			}
			if h, ok := reflect.ValueOf(c).Elem().FieldByIndex(k.field).Interface().(Headers); ok && len(h) > 0 {
				fmt.Fprintf(b, "%s%s:%s\n", indent, name, c.comment(k))
				for _, header := range slices.Sorted(maps.Keys(h)) {
					fmt.Fprintf(b, "%s  %s: %s\n", indent, scalar(reflect.TypeFor[string](), header), scalar(reflect.TypeFor[string](), h[header]))
				}
				continue
			}
			fmt.Fprintf(b, "%s%s: %s%s\n", indent, name, scalar(f.Type, text), c.comment(k))
		}
	}
}

func (c *Config) comment(k *key) string {
	if origin := c.origins[k.path]; origin != "" {
		return "  # " + origin
	}
	return ""
}

// bare is a text that needs no quotes in YAML.
var bare = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./:@*?=&,-]*[A-Za-z0-9_/*]$`)

// scalar returns the YAML for a value, such that YAML reads it with the right type.
func scalar(t reflect.Type, text string) string {
	switch t {
	case reflect.TypeFor[Headers]():
		return "{}"
	case reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[Size](), reflect.TypeFor[time.Duration]():
		return text
	}
	switch strings.ToLower(text) {
	case "true", "false", "null", "yes", "no", "on", "off":
		return strconv.Quote(text)
	}
	if bare.MatchString(text) {
		return text
	}
	return quote(text)
}

// quote returns text in double quotes, with the escapes that Go and YAML have in common.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}
