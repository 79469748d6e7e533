package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// recorded returns the relay's last record of a slot as text.
func recorded(phase, confirmed string, at, now time.Time) string {
	if confirmed == "" {
		return phase + ", nothing confirmed yet"
	}
	s := phase + ", confirmed up to " + confirmed
	if !at.IsZero() {
		s += ", which was committed " + ago(&at, now)
	}
	return s
}

// ago returns how long before now t was, as text.
func ago(t *time.Time, now time.Time) string {
	if t == nil {
		return "none yet"
	}
	return age(now.Sub(*t)) + " ago"
}

// age rounds a duration to its two largest units.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return seconds(d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// seconds rounds to a tenth of a second, and from 100 s on as age does.
func seconds(s float64) string {
	if s >= 100 {
		return age(time.Duration(s) * time.Second)
	}
	return fmt.Sprintf("%.1f s", s)
}

// count returns n things as text. thing is a word that takes an s.
func count(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// eventsOf returns how many events of how many keys there are, as text. Events without a key have none.
func eventsOf(events, keys int64) string {
	if keys == 0 && events > 0 {
		return count(events, "event") + " without a key"
	}
	return count(events, "event") + " of " + count(keys, "key")
}

// printable returns s for a column of a table. Keys, messages of brokers and the like come from elsewhere: what a terminal would act on, what
// cannot be seen, and bytes that are no text, are shown as escapes, in quotes. So is a text that would look like a column without a value.
func printable(s string) string {
	if s == "" || s == "-" || s[0] == '"' || escaped(s) != s {
		return `"` + strings.ReplaceAll(escaped(s), `"`, `\"`) + `"`
	}
	return s
}

// printableText is like printable for a text that may have several lines and has a place of its own: without the quotes.
func printableText(s string) string {
	parts := strings.SplitAfter(s, "\n")
	for i, line := range parts {
		text, end := strings.CutSuffix(line, "\n")
		columns := strings.Split(text, "\t")
		for j := range columns {
			columns[j] = escaped(columns[j])
		}
		if parts[i] = strings.Join(columns, "\t"); end {
			parts[i] += "\n"
		}
	}
	return strings.Join(parts, "")
}

// escaped escapes what is no visible character and no space.
func escaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
		i += size
	}
	return b.String()
}

// orDash returns s for a column of a table, "-" for null.
func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return printable(*s)
}
