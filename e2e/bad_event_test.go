package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// badID is the id of the bad event, if it has one.
const badID = "00000000-0000-4000-8000-00000000000b"

// badEvent is a row that can never become a record.
type badEvent struct {
	columns, values string // of the bad row, in addition to aggregatetype, aggregateid and type
	aggregate       string // its aggregatetype; empty: order
	env             []string
	says            []string // of the relay that stops at it
	reason          string   // of its dead letter
	retype          string   // of column id; empty: uuid
	late            bool     // it is refused only after another metadata query: later events may be sent before, and again afterwards
	cure            func(*testing.T, *pipe, string)
}

var badEvents = map[string]badEvent{
	"over the topic's limit": {
		reason:  "message_too_large",
		columns: "id, payload",
		values:  "'" + badID + "', jsonb_build_object('a', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i))",
		says:    []string{badID, "too large", "max.message.bytes"},
		cure:    func(t *testing.T, p *pipe, topic string) { p.alter(t, topic, "max.message.bytes", "1000000") },
	},
	"headers that are no object": {
		reason:  "invalid_event",
		columns: "id, headers",
		values:  "'" + badID + "', '[1, 2]'",
		says:    []string{badID, "headers", "object"},
	},
	"illegal topic name": {
		reason:    "invalid_event",
		columns:   "id",
		values:    "'" + badID + "'",
		aggregate: "no topic!",
		says:      []string{badID, "no topic!", "topic name"},
	},
	"partition out of range": {
		reason:  "invalid_event",
		columns: "id, place",
		values:  "'" + badID + "', 77",
		env:     []string{"WALPOST_OUTBOX_COLUMNS_PARTITION=place"},
		says:    []string{badID, "partition", "77"},
		late:    true,
	},
	"NULL id": {
		reason:  "invalid_event",
		columns: "id",
		values:  "NULL",
		says:    []string{"id is NULL"},
	},
	// Two of them would be taken for one event.
	"empty id": {
		reason:  "invalid_event",
		columns: "id",
		values:  "''",
		retype:  "text",
		says:    []string{"id is empty"},
	},
}

// commitBad makes the outbox take a bad event, and returns its topic and statements that commit it: 20 keys before it, in its transaction and
// after it. Its key is k7.
func (p *pipe) commitBad(t *testing.T, c badEvent) (topic string, statements []string) {
	t.Helper()
	p.unchecked(t)
	p.exec(t, "ALTER TABLE walpost.outbox DROP CONSTRAINT outbox_pkey, ALTER COLUMN id DROP NOT NULL, ADD COLUMN place int")
	if c.retype != "" {
		p.exec(t, "ALTER TABLE walpost.outbox ALTER id TYPE "+c.retype)
	}
	aggregate := "order"
	if c.aggregate != "" {
		aggregate = c.aggregate
	}
	good := "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', 'k'||i, '%s' FROM generate_series(1, 20) i"
	return p.topic(t, "order", 2, map[string]string{"max.message.bytes": "2000"}), []string{
		fmt.Sprintf(good, "before"), "BEGIN",
		fmt.Sprintf(good, "in its transaction, before it"),
		fmt.Sprintf("INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, %s) VALUES ('%s', 'k7', 'bad', %s)", c.columns, aggregate, c.values),
		fmt.Sprintf(good, "in its transaction, after it"), "COMMIT",
		fmt.Sprintf(good, "after"),
	}
}

// With on_bad_event: halt, an event that can never become a record stops the
// relay. Everything before it is in Kafka, the message names it, and no event is
// skipped. When the cause is removed, everything arrives.
func TestBadEvent(t *testing.T) {
	t.Parallel()
	for name, c := range badEvents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t).withSchema(t)
			p.env["WALPOST_OUTBOX_ON_BAD_EVENT"] = "halt"
			topic, statements := p.commitBad(t, c)
			r := p.start(t, c.env...)
			truth := newOracle(t, p)
			p.exec(t, statements...)
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

// By default, an event that can never become a record waits in
// walpost.dead_letters with the later events of its topic and key, also across
// restarts. All others flow. When the cause is removed, it is given back. Otherwise
// it is refused again until it is discarded, and then those behind it are given
// back. In both cases the key's events come in order.
func TestBadEventIsParked(t *testing.T) {
	t.Parallel()
	for name, c := range badEvents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t).withSchema(t)
			topic, statements := p.commitBad(t, c)
			r := p.start(t, c.env...)
			p.exec(t, statements...)
			// Another topic, or one that nobody can name, is another scope.
			behind, waiting := "", int64(0)
			if c.aggregate == "" {
				behind, waiting = ":retry", 2
			}
			letters := func(head string, waiting int64) {
				t.Helper()
				eventually(t, "dead letters", func() string {
					got := ask[string](t, p.conn, `SELECT concat_ws(' ', min(CASE WHEN state = 'head' THEN concat_ws(' ', type, reason, attempts) END),
						'waiting', count(*) FILTER (WHERE state = 'waiting'), 'retrying', count(*) FILTER (WHERE state = 'retrying')) FROM walpost.dead_letters`)
					if want := strings.TrimSpace(fmt.Sprintf("%s waiting %d retrying 0", head, waiting)); got != want {
						return got
					}
					return ""
				})
			}
			letters("bad "+c.reason+" 0", waiting)
			p.settle(t)
			counts := p.types(t, topic)
			for typ, want := range map[string]int{"before": 20, "in its transaction, before it": 20, "bad": 0, "in its transaction, after it": 20 - int(waiting)/2, "after": 20 - int(waiting)/2} {
				if counts[typ] != want {
					t.Errorf("%d events %q are in Kafka, want %d", counts[typ], typ, want)
				}
			}
			r.awaitReady(t, "leader")
			r.stop(t)
			r = p.start(t, c.env...)
			letters("bad "+c.reason+" 0", waiting)

			want := []string{"before", "in its transaction, before it", "in its transaction, after it" + behind, "after" + behind, "new"}
			if c.cure != nil {
				c.cure(t, p, topic)
				p.mustCLI(t, "dead-letter", "retry", "--key", "k7")
				want = slices.Insert(want, 2, "bad:retry")
			} else {
				p.mustCLI(t, "dead-letter", "retry", "--reason", c.reason)
				letters("bad "+c.reason+" 1", waiting)
				p.mustCLI(t, "dead-letter", "discard", "--reason", c.reason, "--note", "it can never be sent")
				letters("", waiting)
				p.mustCLI(t, "dead-letter", "retry", "--all")
			}
			letters("", 0)
			eventually(t, "no key is parked", func() string {
				if n := r.metrics(t)["walpost_parked_keys"]; n != 0 {
					return fmt.Sprint(n)
				}
				return ""
			})
			p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) VALUES ('order', 'k7', 'new')")
			p.settle(t)
			r.stop(t)
			if got := p.kinds(t, topic, "k7"); !slices.Equal(got, want) {
				t.Errorf("events of the key\n%q, want\n%q", got, want)
			}
		})
	}
}

// kinds returns the ce_type of each record of a key, in order, with walpost_replay
// behind it. The key "" means all records.
func (p *pipe) kinds(t testing.TB, topic, key string) (kinds []string) {
	t.Helper()
	p.each(t, topic, func(r *kgo.Record) {
		if key != "" && string(r.Key) != key {
			return
		}
		h := headers(t, r)
		kind := *h["ce_type"]
		if replay := h["walpost_replay"]; replay != nil {
			kind += ":" + *replay
		}
		kinds = append(kinds, kind)
	})
	return kinds
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
