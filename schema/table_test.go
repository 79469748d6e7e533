package schema

import (
	"strings"
	"testing"
)

func TestParseTable(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Table
		sql  string
	}{
		{"walpost.outbox", Table{"walpost", "outbox"}, "walpost.outbox"},
		{"Public.OutboxEvent", Table{"public", "outboxevent"}, "public.outboxevent"},
		{`public."OutboxEvent"`, Table{"public", "OutboxEvent"}, `public."OutboxEvent"`},
		{`"a.b"."c""d"`, Table{"a.b", `c"d`}, `"a.b"."c""d"`},
		{`app.order`, Table{"app", "order"}, `app."order"`},
		{`"user"._x$1`, Table{"user", "_x$1"}, `"user"._x$1`},
		{`bücher.Ärger`, Table{"bücher", "Ärger"}, `"bücher"."Ärger"`},
		{`"it's"."\;"`, Table{"it's", `\;`}, `"it's"."\;"`},
	} {
		got, err := ParseTable(c.in)
		if err != nil || got != c.want {
			t.Errorf("ParseTable(%s) = %+v, %v, want %+v", c.in, got, err, c.want)
			continue
		}
		if got.String() != c.sql {
			t.Errorf("%+v is written %s, want %s", got, got, c.sql)
		}
		if again, err := ParseTable(got.String()); err != nil || again != got {
			t.Errorf("%s is read back as %+v, %v", got, again, err)
		}
	}
}

func TestParseTableRefuses(t *testing.T) {
	for in, says := range map[string]string{
		"":                              "a name is missing",
		"outbox":                        "names no schema",
		"a.b.c":                         "after the table's name",
		".outbox":                       "a name is missing",
		"walpost.":                      "a name is missing",
		"walpost.out-box":               "double quotes",
		"my-app.outbox":                 "double quotes",
		`walpost."outbox`:               "not closed",
		`walpost.""`:                    "a name is missing",
		"walpost.1st":                   "a name is missing",
		"walpost.outbox ":               "after the table's name",
		"walpost.\"\x00\"":              "zero byte",
		"w." + strings.Repeat("x", 64):  "64 bytes",
		"walpost.outbox; drop table x;": "after the table's name",
	} {
		if got, err := ParseTable(in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("ParseTable(%q) = %+v, %v, want an error with %q", in, got, err, says)
		}
	}
}

func TestQuoteLiteral(t *testing.T) {
	for in, want := range map[string]string{"": "''", "a": "'a'", "it's": "'it''s'", `a\'b`: `E'a\\''b'`} {
		if got := QuoteLiteral(in); got != want {
			t.Errorf("QuoteLiteral(%s) = %s, want %s", in, got, want)
		}
	}
}
