package e2e

import (
	"slices"
	"testing"
)

// The outbox is altered while a relay runs. Each row is read with the columns
// that the table had when it was written. When rows would no longer reach the
// slot, the relay reports it and stops within ten seconds, with everything before
// acknowledged.
func TestAlteredUnderTheRelay(t *testing.T) {
	t.Parallel() // mostly waiting
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	r := p.start(t)
	insert := func(kind, payload string) {
		p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) VALUES ('order', '1', '"+kind+"', '"+payload+"')")
	}
	insert("as it was", `{"n": 1}`)
	p.exec(t, "ALTER TABLE walpost.outbox ADD note text DEFAULT 'x'")
	insert("column added", `{"n": 2}`)
	p.exec(t, "ALTER TABLE walpost.outbox RENAME note TO remark")
	insert("column renamed", `{"n": 3}`)
	p.exec(t, "ALTER TABLE walpost.outbox DROP remark, DROP headers")
	insert("columns dropped", `{"n": 4}`)
	p.exec(t, "ALTER TABLE walpost.outbox ALTER payload TYPE text")
	insert("column retyped", `{"n":  5}`)
	p.exec(t, "BEGIN", "ALTER TABLE walpost.outbox RENAME TO old", "CREATE TABLE walpost.outbox (LIKE walpost.old INCLUDING ALL)",
		"ALTER PUBLICATION walpost ADD TABLE walpost.outbox", "COMMIT")
	insert("another table", `{"n":   6}`)
	r.awaitMetric(t, `walpost_events_published_total{topic="`+topic+`"}`, 6)
	r.awaitOutput(t, "another table under the same name")
	r.awaitMetric(t, "walpost_slot_active", 1)
	r.awaitMetric(t, `walpost_slot_wal_status{status="reserved"}`, 1)

	p.exec(t, "ALTER PUBLICATION walpost DROP TABLE walpost.outbox")
	insert("in no slot", `{}`)
	refusal{1, []string{"publication walpost does not contain table walpost.outbox", "ALTER PUBLICATION walpost ADD TABLE walpost.outbox", "only in the table"}}.
		check(t, r.exit(t), r.output())

	var values []string
	for _, rec := range flat(p.read(t, topic)) {
		values = append(values, string(rec.Value))
	}
	if want := []string{`{"n": 1}`, `{"n": 2}`, `{"n": 3}`, `{"n": 4}`, `{"n":  5}`, `{"n":   6}`}; !slices.Equal(values, want) {
		t.Errorf("delivered %q, want %q", values, want)
	}
}
