package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// An event that can never become a record stops the relay. Everything before it
// is in Kafka, the message names it, and no event is skipped. When the cause is
// removed, everything arrives.
func TestBadEvent(t *testing.T) {
	t.Parallel()
	const id = "00000000-0000-4000-8000-00000000000b"
	for name, c := range map[string]struct {
		columns, values string // of the bad row, in addition to aggregatetype, aggregateid and type
		aggregate       string // its aggregatetype; empty: order
		env             []string
		says            []string
		retype          string // of column id; empty: uuid
		late            bool   // it is refused only after another metadata query: later events may be sent before, and again afterwards
		cure            func(*testing.T, *pipe, string)
	}{
		"over the topic's limit": {
			columns: "id, payload",
			values:  "'" + id + "', jsonb_build_object('a', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i))",
			says:    []string{id, "too large", "max.message.bytes"},
			cure:    func(t *testing.T, p *pipe, topic string) { p.alter(t, topic, "max.message.bytes", "1000000") },
		},
		"headers that are no object": {
			columns: "id, headers",
			values:  "'" + id + "', '[1, 2]'",
			says:    []string{id, "headers", "object"},
		},
		"illegal topic name": {
			columns:   "id",
			values:    "'" + id + "'",
			aggregate: "no topic!",
			says:      []string{id, "no topic!", "topic name"},
		},
		"partition out of range": {
			columns: "id, place",
			values:  "'" + id + "', 77",
			env:     []string{"WALPOST_OUTBOX_COLUMNS_PARTITION=place"},
			says:    []string{id, "partition", "77"},
			late:    true,
		},
		"NULL id": {
			columns: "id",
			values:  "NULL",
			says:    []string{"id is NULL"},
		},
		// Two of them would be taken for one event.
		"empty id": {
			columns: "id",
			values:  "''",
			retype:  "text",
			says:    []string{"id is empty"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t).withSchema(t)
			p.unchecked(t)
			p.exec(t, "ALTER TABLE walpost.outbox DROP CONSTRAINT outbox_pkey, ALTER COLUMN id DROP NOT NULL, ADD COLUMN place int")
			if c.retype != "" {
				p.exec(t, "ALTER TABLE walpost.outbox ALTER id TYPE "+c.retype)
			}
			topic := p.topic(t, "order", 2, map[string]string{"max.message.bytes": "2000"})
			r := p.start(t, c.env...)
			truth := newOracle(t, p)
			aggregate := "order"
			if c.aggregate != "" {
				aggregate = c.aggregate
			}
			good := "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', 'k'||i, '%s' FROM generate_series(1, 20) i"
			p.exec(t, fmt.Sprintf(good, "before"), "BEGIN",
				fmt.Sprintf(good, "in its transaction, before it"),
				fmt.Sprintf("INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, %s) VALUES ('%s', 'k7', 'bad', %s)", c.columns, aggregate, c.values),
				fmt.Sprintf(good, "in its transaction, after it"), "COMMIT",
				fmt.Sprintf(good, "after"))
			refusal{code: 1, says: c.says}.check(t, r.exit(t), r.output())

			counts := p.types(t, topic)
			if counts["before"] != 20 {
				t.Errorf("%d of 20 events before the bad one are in Kafka", counts["before"])
			}
			if counts["bad"] != 0 {
				t.Error("the bad event is in Kafka")
			}
			// The next start does not skip it either.
			again := p.launch(t, c.env...)
			refusal{code: 1, says: c.says}.check(t, again.exit(t), again.output())

			rows := truth.rows(t)
			if c.cure == nil {
				// No setting helps, and no change of the row. Only the cure in the message does.
				p.exec(t, "DELETE FROM walpost.outbox WHERE type = 'bad'")
				r = p.launch(t, c.env...)
				refusal{code: 1, says: c.says}.check(t, r.exit(t), r.output())
				pass := regexp.MustCompile(`SELECT pg_replication_slot_advance\([^)]*\)`).FindString(r.output())
				if pass == "" {
					t.Fatalf("the message has no SQL that moves the slot past it:\n%s", r.output())
				}
				p.exec(t, pass)
				r = p.start(t, c.env...)
				p.settle(t)
				r.stop(t)
				if counts := p.types(t, topic); !c.late && counts["after"] != 20 || counts["bad"] != 0 {
					t.Errorf("in Kafka: %v", counts)
				}
				after := make(map[string]bool)
				p.each(t, topic, func(r *kgo.Record) {
					if h := headers(t, r); *h["ce_type"] == "after" {
						after[*h["id"]] = true
					}
				})
				if len(after) != 20 {
					t.Errorf("%d of 20 events after the transaction are in Kafka", len(after))
				}
				return
			}
			c.cure(t, p, topic)
			r = p.start(t, c.env...)
			p.settle(t)
			r.stop(t)
			p.atLeastOnce(t, topic, rows)
		})
	}
}

// types returns how many records of a topic have each ce_type.
func (p *pipe) types(t testing.TB, topic string) map[string]int {
	counts := make(map[string]int)
	p.each(t, topic, func(r *kgo.Record) { counts[*headers(t, r)["ce_type"]]++ })
	return counts
}

// A relay waits for a missing topic, shows the command that helps, and does not
// create the topic by accident.
func TestAbsentTopic(t *testing.T) {
	t.Parallel() // mostly waiting
	p := newPipe(t).withSchema(t)
	there := p.topic(t, "there", 1, nil)
	r := p.start(t)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('absent', 'waits')",
		"INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('there', 'flows')")
	p.awaitSize(t, p.client(t), there, 1)
	r.awaitOutput(t, p.prefix+".absent", "kafka-topics.sh --create")
	p.absent(t, p.prefix+".absent")

	// A kill in this state loses nothing.
	p.awaitReport(t)
	r.kill()
	r = p.start(t)
	topic := p.topic(t, "absent", 1, nil)
	p.settle(t)
	r.stop(t)
	if counts := p.types(t, topic); counts["waits"] != 1 {
		t.Errorf("topic %s: %v", topic, counts)
	}
	if strings.Contains(r.output(), "level=ERROR") {
		t.Errorf("errors in the log:\n%s", r.output())
	}
}
