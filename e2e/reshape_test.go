package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// reshape is a change of the table after which it is still an outbox.
type reshape struct {
	sql     string
	alone   bool   // it cannot run in a transaction
	payload string // the payload from then on, with %d for the row's number; empty: as before
	value   string // the record's value for it
	content string // and the record's content-type
}

const jsonContent, textContent, bytesContent = "application/json", "text/plain", "application/octet-stream"

// reshapes are changes that people make to tables, one after the other.
var reshapes = []reshape{
	{payload: `'{"n":%d}'`, value: `{"n":%d}`, content: jsonContent},
	{sql: "ADD note text DEFAULT 'x', ADD stamp timestamptz DEFAULT clock_timestamp()"}, // the second one rewrites the table
	{sql: "RENAME note TO remark"},
	{sql: "ALTER remark DROP DEFAULT, ALTER remark TYPE numeric USING length(remark)"},
	{sql: "DROP remark, DROP stamp"},
	{sql: "ALTER payload TYPE jsonb", payload: `'{"n":%d}'`, value: `{"n": %d}`, content: jsonContent},
	{sql: "ALTER aggregateid TYPE varchar(50), ALTER type TYPE text, ALTER id TYPE bigint"},
	{sql: "ALTER payload TYPE text", payload: `'{"n":%d}'`, value: `{"n":%d}`, content: textContent},
	{sql: "ALTER aggregateid TYPE text, ALTER id TYPE text, ALTER aggregatetype TYPE kind USING aggregatetype::kind"},
	{sql: "ALTER payload TYPE bytea USING convert_to(payload, 'UTF8')", payload: `'\x0%d'`, value: "", content: bytesContent},
	{sql: "ALTER created_at TYPE timestamp, ALTER headers TYPE json"},
	{sql: "ALTER payload SET STORAGE EXTERNAL, SET (fillfactor = 50), REPLICA IDENTITY FULL"},
	{sql: "VACUUM FULL outbox", alone: true},
	{sql: "DROP headers, DROP created_at"},
	{sql: "ADD created_at timestamptz DEFAULT now(), ADD headers jsonb, ADD PRIMARY KEY (id)"}, // in other positions
	{sql: "TRUNCATE outbox", alone: true},
	{sql: "ALTER TYPE kind ADD VALUE 'payment'", alone: true},
	{sql: "DROP payload, ADD payload document DEFAULT '{}'", payload: `'{"n":%d}'`, value: `{"n": %d}`, content: jsonContent},
	{sql: "ALTER payload TYPE varchar", payload: `'text %d'`, value: "text %d", content: textContent},
}

// Changes that leave the table an outbox do not disturb the relay. Each row is
// read with the columns that the table had when it was written, also inside of a
// transaction that alters the table, and whether the relay runs or starts later.
func TestReshapedOutbox(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"meanwhile", "before"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t)
			p.env["WALPOST_OUTBOX_TABLE"] = "public.outbox"
			p.exec(t, "CREATE TYPE kind AS ENUM ('order')", "CREATE DOMAIN document AS jsonb",
				`CREATE TABLE outbox (id int, aggregatetype text, aggregateid text, type varchar(100), payload json, headers jsonb, created_at timestamptz DEFAULT now())`)
			p.withSchema(t)
			topic := p.topic(t, "order", 1, nil)
			r := p.start(t)
			if when == "before" {
				r.stop(t)
			}
			want := p.reshape(t)
			if when == "before" {
				r = p.start(t)
			}
			p.settle(t)
			r.stop(t)
			var got []string
			last := ""
			for _, record := range flat(p.read(t, topic)) {
				h := headers(t, record)
				got = append(got, fmt.Sprintf("%s %s %q", *h["id"], *h["content-type"], record.Value))
				if *h["ce_sequence"] <= last {
					t.Errorf("row %s: ce_sequence %s after %s", *h["id"], *h["ce_sequence"], last)
				}
				last = *h["ce_sequence"]
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d records\n%s\nwant %d\n%s", len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
			}
		})
	}
}

// reshape inserts rows before and after every change, and returns the expected
// records.
func (p *pipe) reshape(t *testing.T) (want []string) {
	t.Helper()
	now := reshapes[0]
	insert := func() {
		t.Helper()
		n := len(want) + 1
		payload, value := strings.ReplaceAll(now.payload, "%d", fmt.Sprint(n%10)), strings.ReplaceAll(now.value, "%d", fmt.Sprint(n%10))
		if now.content == bytesContent {
			value = string(rune(n % 10))
		}
		p.exec(t, fmt.Sprintf("INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload) VALUES (%d, 'order', 'k', 'x', %s)", n, payload))
		want = append(want, fmt.Sprintf("%d %s %q", n, now.content, value))
	}
	insert()
	for _, next := range reshapes[1:] {
		if !next.alone {
			p.exec(t, "BEGIN")
			insert()
		}
		if sql := next.sql; next.alone {
			p.exec(t, sql)
		} else {
			p.exec(t, "ALTER TABLE outbox "+sql)
		}
		if next.payload != "" {
			now = next
		}
		insert()
		if !next.alone {
			p.exec(t, "COMMIT")
			insert()
		}
	}
	return want
}
