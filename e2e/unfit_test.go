package e2e

import (
	"regexp"
	"testing"
)

// The outbox is altered so that its rows cannot be events any more, in the middle
// of a transaction and of a stream. The relay stops with a message that names the
// table, the column, what it found and what it needs. Everything before is in
// Kafka, and no row is skipped: not by the next start, and not when the change is
// undone, unless the rows can be read then.
func TestUnfitOutbox(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		alter, back string
		env         []string
		says        []string // in a log line, where quotes are escaped
		readable    bool     // once the change is undone
	}{
		"required column dropped": {
			alter: "DROP payload", back: "ADD payload jsonb",
			says: []string{`no column \"payload\" for outbox.columns.payload`, "wanted jsonb, json, text or bytea"},
		},
		"required column renamed": {
			alter: "RENAME aggregateid TO entity", back: "RENAME entity TO aggregateid",
			says:     []string{`no column \"aggregateid\"`, "wanted text, uuid, integer or bytea"},
			readable: true,
		},
		"named column dropped": {
			alter: "DROP headers", back: "ADD headers jsonb",
			env:  []string{"WALPOST_OUTBOX_COLUMNS_HEADERS=headers"},
			says: []string{`no column \"headers\" for outbox.columns.headers`, "wanted jsonb or json"},
		},
		"payload retyped": {
			alter: "ALTER payload TYPE numeric USING 0", back: "ALTER payload TYPE jsonb USING '{}'",
			says: []string{`column \"payload\" is numeric`, "wanted jsonb, json, text or bytea"},
		},
		"optional column retyped": {
			alter: "ALTER created_at DROP DEFAULT, ALTER created_at DROP NOT NULL, ALTER created_at TYPE date", back: "ALTER created_at TYPE timestamptz",
			says: []string{`column \"created_at\" is date`, "wanted timestamp with time zone or timestamp"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t).withSchema(t)
			topic := p.topic(t, "order", 1, nil)
			insert := func(typ string) string {
				return "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', '" + typ + "')"
			}
			r := p.start(t, c.env...)
			p.exec(t, insert("before"), "BEGIN", insert("in it, fitting"), "ALTER TABLE walpost.outbox "+c.alter, insert("in it, unfit"), "COMMIT")
			before := refusal{code: 1, says: append(c.says, "walpost.outbox", "decode insert at")}
			before.check(t, r.exit(t), r.output())
			counts := p.types(t, topic)
			if counts["before"] != 1 || counts["in it, unfit"] != 0 {
				t.Errorf("in Kafka: %v", counts)
			}
			// The present table does not fit either.
			r = p.launch(t, c.env...)
			refusal{code: 1, says: append(c.says, "walpost.outbox")}.check(t, r.exit(t), r.output())

			p.exec(t, "ALTER TABLE walpost.outbox "+c.back, insert("after"))
			r = p.launch(t, c.env...)
			if !c.readable {
				before.check(t, r.exit(t), r.output())
				if counts := p.types(t, topic); counts["after"] != 0 || counts["before"] != 1 {
					t.Errorf("in Kafka: %v", counts)
				}
				// After the cure in the message, the relay goes on.
				pass := regexp.MustCompile(`SELECT pg_replication_slot_advance\([^)]*\)`).FindString(r.output())
				if pass == "" {
					t.Fatalf("the message has no SQL that moves the slot past the row:\n%s", r.output())
				}
				p.exec(t, pass, insert("in it, unfit"))
				r = p.launch(t, c.env...)
			}
			r.awaitReady(t, "leader")
			p.settle(t)
			r.stop(t)
			if counts := p.types(t, topic); counts["before"] != 1 || counts["in it, unfit"] != 1 || counts["after"] != 1 {
				t.Errorf("in Kafka: %v", counts)
			}
		})
	}
}
