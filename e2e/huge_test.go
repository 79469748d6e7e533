package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Rows of many megabytes. A row that its topic takes passes. A row that Kafka
// can never take stops the relay if it does not park: everything before it is in
// Kafka, and nothing after it is confirmed.
func TestHugeRows(t *testing.T) {
	t.Parallel() // mostly the servers' work
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 1, map[string]string{"max.message.bytes": "30000000"})
	env := []string{"WALPOST_OUTBOX_ON_BAD_EVENT=halt", "WALPOST_KAFKA_COMPRESSION_TYPE=none"} // a row of one letter would shrink to nothing
	r := p.start(t, env...)
	const id = "00000000-0000-4000-8000-00000000000c"
	const large, beyond = 20_000_000, 100_000_000
	row := func(typ, id string, size int) string {
		return fmt.Sprintf("INSERT INTO walpost.outbox (id, aggregatetype, aggregateid, type, payload) VALUES (%s, 'order', 'k', '%s', to_jsonb(repeat('x', %d)))", id, typ, size)
	}
	const fresh = "gen_random_uuid()"
	p.exec(t, row("first", fresh, 1),
		"BEGIN", row("beside the large one", fresh, 1), row("large", fresh, large), row("beside the large one", fresh, 1), "COMMIT",
		"BEGIN", row("between", fresh, 1))
	confirmable := ask[string](t, p.conn, "SELECT pg_current_wal_insert_lsn()::text") // the next commit is beyond this
	p.exec(t, "COMMIT")
	p.exec(t, "BEGIN", row("in its transaction, before it", fresh, 1), row("beyond", "'"+id+"'", beyond), row("behind", fresh, 1), "COMMIT")
	end := ask[string](t, p.conn, "SELECT pg_current_wal_flush_lsn()::text")
	p.exec(t, row("behind", fresh, 1))

	want := refusal{code: 1, says: []string{id, "larger than 100 MB", "publish a reference"}}
	want.check(t, r.exit(t), r.output())
	again := p.launch(t, env...)
	want.check(t, again.exit(t), again.output()) // the next start does not skip it

	if !ask[bool](t, p.conn, "SELECT confirmed_flush_lsn > $2::pg_lsn AND confirmed_flush_lsn < $3::pg_lsn FROM pg_replication_slots WHERE slot_name = $1", p.db.Name, confirmable, end) {
		t.Error("something before the row is not confirmed, or something after it is")
	}
	var types []string
	p.each(t, topic, func(record *kgo.Record) {
		typ := *headers(t, record)["ce_type"]
		types = append(types, typ)
		if typ == "large" && len(record.Value) != large+2 { // JSON's quotes
			t.Errorf("the large row came with %d bytes", len(record.Value))
		}
	})
	// Earlier rows of the same transaction may be sent by both runs, because
	// they are not confirmed.
	head := []string{"first", "beside the large one", "large", "beside the large one", "between"}
	if len(types) < len(head) {
		t.Fatalf("events %q", types)
	}
	for i, typ := range types {
		if i < len(head) && typ != head[i] || i >= len(head) && typ != "in its transaction, before it" {
			t.Errorf("events %q, want %q first", types, head)
			break
		}
	}
}

// A row beyond 100 MB is parked, and its key waits. Nothing can make it a record, so it is refused again, and discarded.
func TestHugeRowIsParked(t *testing.T) {
	t.Parallel() // mostly the servers' work
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	r := p.start(t)
	row := func(typ, key string, size int) string {
		return fmt.Sprintf("INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) VALUES ('order', '%s', '%s', to_jsonb(repeat('x', %d)))", key, typ, size)
	}
	p.exec(t, "BEGIN", row("before", "k", 1), row("beyond", "k", 100_000_000), row("behind", "k", 1), row("beside", "l", 1), "COMMIT")
	states := func(want string) {
		t.Helper()
		eventually(t, "states: "+want, func() string {
			r.mustRun(t)
			got := ask[string](t, p.conn, "SELECT coalesce(string_agg(concat_ws(' ', type, state, reason, attempts, octet_length(value)), ', ' ORDER BY position), '') FROM walpost.dead_letters")
			if got != want {
				return got
			}
			return ""
		})
	}
	states("beyond head message_too_large 0 100000002, behind waiting key_parked 0 3")
	p.settle(t)
	p.mustCLI(t, "dead-letter", "retry", "--all")
	states("beyond head message_too_large 1 100000002, behind waiting key_parked 0 3")
	if n := r.metrics(t)[fmt.Sprintf(`walpost_events_failed_total{reason="message_too_large",topic=%q}`, topic)]; n != 2 { // a retry counts, too
		t.Errorf("%v refusals were counted, want 2", n)
	}
	detail := ask[string](t, p.conn, "SELECT detail FROM walpost.dead_letters WHERE type = 'beyond'")
	if !strings.Contains(detail, "walpost sends none that is larger than 100 MB; a retry cannot help: discard the event, and ") || strings.Contains(detail, "server") {
		t.Errorf("its detail: %s", detail)
	}
	p.mustCLI(t, "dead-letter", "discard", "--reason", "message_too_large", "--note", "too large")
	p.mustCLI(t, "dead-letter", "retry", "--all")
	states("beyond discarded message_too_large 1 100000002, behind released key_parked 0 3")
	if got, want := p.kinds(t, topic, ""), []string{"before", "beside", "behind:retry"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	r.stop(t)
}

// SIGTERM in the middle of a transaction that is far larger than the budget, while
// Kafka takes its events and while it does not. The relay ends in time with exit
// code 0, and the next one delivers everything.
func TestStopInHugeTransaction(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		blocked string // outbox.blocked_topic; "": the topic exists from the start
	}{{"while it flows", ""}, {"while it is blocked", "wait"}, {"while it is parked", "park"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t).withSchema(t)
			var topic string
			if c.blocked == "" {
				topic = p.topic(t, "order", 2, nil)
			} else {
				p.env["WALPOST_OUTBOX_BLOCKED_TOPIC"] = c.blocked
			}
			const timeout = time.Second
			env := []string{"WALPOST_RELAY_MAX_IN_FLIGHT_BYTES=2MB", "WALPOST_RELAY_SHUTDOWN_TIMEOUT=1s"}
			r := p.start(t, env...)
			truth := newOracle(t, p)
			p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'before')",
				"INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) SELECT 'order', 'k'||i % 50, 'huge', to_jsonb(repeat('x', 200)) FROM generate_series(1, 40000) i",
				"INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'behind')")
			eventually(t, "the transaction is under way", func() string {
				r.mustRun(t)
				if n := r.metrics(t)["walpost_events_received_total"]; n < 500 {
					return fmt.Sprint(n)
				}
				if c.blocked == "park" {
					return ask[string](t, p.conn, "SELECT CASE WHEN count(*) > 0 THEN '' ELSE 'nothing is parked' END FROM walpost.dead_letters")
				}
				return ""
			})
			begin := time.Now()
			r.signal(t, syscall.SIGTERM)
			if code := r.exit(t); code != 0 {
				t.Errorf("exit %d", code)
			}
			if took := time.Since(begin); took > timeout+15*time.Second {
				t.Errorf("it ended after %v; the time-out is %v", took, timeout)
			}
			if topic == "" {
				topic = p.topic(t, "order", 2, nil)
			}
			if c.blocked == "wait" {
				refusal{code: 0, says: []string{"stopping with events that are not acked", "events="}}.check(t, 0, r.output())
			}
			r = p.start(t, env...)
			p.settle(t)
			eventually(t, "nothing waits for its topic", func() string {
				return ask[string](t, p.conn, "SELECT coalesce(nullif(count(*), 0)::text, '') FROM walpost.dead_letters WHERE state = 'waiting'")
			})
			r.stop(t)
			rows := truth.rows(t)
			t.Logf("%d rows, %d sent again", len(rows), p.atLeastOnce(t, topic, rows))
		})
	}
}
