package schema

import (
	"errors"
	"fmt"
	"strings"
)

// Table is the name of a table with its schema. Both names are as in the catalog, without quotes.
type Table struct{ Schema, Name string }

// DefaultTable is the outbox that walpost creates itself.
var DefaultTable = Table{Schema: "walpost", Name: "outbox"}

// ParseTable reads "schema.table" by SQL's rules: a name without quotes is folded to lower case, a name in double quotes is not, and a
// double quote inside is written twice. The schema is required, because the meaning of a bare name depends on the search_path, and the
// relay, the services and the migration tool rarely share one.
func ParseTable(s string) (Table, error) {
	schema, rest, err := scanIdent(s)
	if err != nil {
		return Table{}, fmt.Errorf("table %q: %w", s, err)
	}
	if rest == "" {
		return Table{}, fmt.Errorf("table %q names no schema: write it as schema.table, for example public.%s", s, s)
	}
	if rest[0] != '.' {
		return Table{}, fmt.Errorf("table %q: %q where a dot should be: write it as schema.table, or put the name in double quotes", s, rest)
	}
	name, rest, err := scanIdent(rest[1:])
	if err != nil {
		return Table{}, fmt.Errorf("table %q: %w", s, err)
	}
	if rest != "" {
		return Table{}, fmt.Errorf("table %q: %q after the table's name: write it as schema.table, or put the name in double quotes", s, rest)
	}
	return Table{Schema: schema, Name: name}, nil
}

// String returns the table's name for use in SQL, quoted where necessary. ParseTable can read it.
func (t Table) String() string { return QuoteIdent(t.Schema) + "." + QuoteIdent(t.Name) }

// maxIdent is NAMEDATALEN-1. Postgres truncates a longer name, and the result could name another object.
const maxIdent = 63

// scanIdent reads one SQL identifier at the beginning of s.
func scanIdent(s string) (ident, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		ident, rest, err = scanQuoted(s[1:])
	} else {
		n := 0
		for n < len(s) && isIdentByte(s[n], n == 0) {
			n++
		}
		ident, rest = foldASCII(s[:n]), s[n:]
	}
	switch {
	case err != nil:
		return "", "", err
	case ident == "":
		return "", "", errors.New("a name is missing")
	case strings.IndexByte(ident, 0) >= 0:
		return "", "", errors.New("a name contains a zero byte")
	case len(ident) > maxIdent:
		return "", "", fmt.Errorf("the name %q has %d bytes, Postgres allows %d", ident, len(ident), maxIdent)
	}
	return ident, rest, nil
}

// scanQuoted reads a quoted identifier after its opening quote.
func scanQuoted(s string) (ident, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '"':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '"':
			b.WriteByte('"')
			i++
		default:
			return b.String(), s[i+1:], nil
		}
	}
	return "", "", errors.New("a double quote is not closed")
}

func isIdentByte(c byte, first bool) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c >= 0x80:
		return true
	case '0' <= c && c <= '9', c == '$':
		return !first
	}
	return false
}

// foldASCII folds to lower case as Postgres does in a multi-byte encoding: ASCII letters only.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
