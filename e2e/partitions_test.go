package e2e

import (
	"fmt"
	"slices"
	"testing"
)

// Partitions of an outbox come and go. As long as the root is in the
// publication, each row arrives once, in commit order, whatever happened to its
// partition meanwhile.
func TestPartitionsComeAndGo(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.env["WALPOST_OUTBOX_TABLE"] = "shop.events"
	p.exec(t, "CREATE SCHEMA shop",
		"CREATE TABLE shop.events (id int, aggregatetype text, aggregateid text, type text, payload jsonb, month int) PARTITION BY RANGE (month)",
		"CREATE TABLE shop.events_1 PARTITION OF shop.events FOR VALUES FROM (1) TO (2)")
	p.withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	r := p.start(t)
	n := 0
	insert := func(month, count int) {
		t.Helper()
		p.exec(t, fmt.Sprintf(`INSERT INTO shop.events (id, aggregatetype, aggregateid, type, payload, month)
			SELECT i, 'order', 'k', 'x', jsonb_build_object('n', i), %d FROM generate_series(%d, %d) i`, month, n+1, n+count))
		n += count
	}
	insert(1, 10)
	p.exec(t, "CREATE TABLE shop.events_2 PARTITION OF shop.events FOR VALUES FROM (2) TO (3)")
	insert(2, 10)
	// A partition that was a separate table, with its columns in another order
	// and one dropped column.
	p.exec(t, "CREATE TABLE shop.other (month int, gone text, payload jsonb, type text, aggregateid text, aggregatetype text, id int)",
		"ALTER TABLE shop.other DROP gone",
		"INSERT INTO shop.other (id, aggregatetype, month) VALUES (-1, 'order', 3)", // not a row of the outbox yet
		"ALTER TABLE shop.events ATTACH PARTITION shop.other FOR VALUES FROM (3) TO (4)")
	insert(3, 10)
	insert(1, 1)
	p.exec(t, "INSERT INTO shop.other (id, aggregatetype, aggregateid, type, payload, month) VALUES (32, 'order', 'k', 'x', '{\"n\": 32}', 3)")
	n++
	// Sub-partitions, and a default partition.
	p.exec(t, "CREATE TABLE shop.events_4 PARTITION OF shop.events FOR VALUES FROM (4) TO (5) PARTITION BY HASH (id)",
		"CREATE TABLE shop.events_4a PARTITION OF shop.events_4 FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
		"CREATE TABLE shop.rest PARTITION OF shop.events DEFAULT")
	insert(4, 10)
	insert(99, 5)
	// Insert, and detach or drop in the same transaction, or right after it.
	p.exec(t, "BEGIN")
	insert(1, 5)
	p.exec(t, "ALTER TABLE shop.events DETACH PARTITION shop.events_1", "COMMIT",
		"INSERT INTO shop.events_1 (id, aggregatetype, month) VALUES (-2, 'order', 1)") // not a row of the outbox any more
	p.exec(t, "BEGIN")
	insert(2, 1000)
	p.exec(t, "DROP TABLE shop.events_2", "COMMIT")
	insert(3, 100)
	p.exec(t, "DROP TABLE shop.other", "DROP TABLE shop.rest", "ALTER TABLE shop.events DETACH PARTITION shop.events_4 CONCURRENTLY",
		"DROP TABLE shop.events_4", "CREATE TABLE shop.rest PARTITION OF shop.events DEFAULT")
	// The root is altered together with its partitions.
	p.exec(t, "ALTER TABLE shop.events ADD note text DEFAULT 'n'", "ALTER TABLE shop.events ALTER payload TYPE text")
	insert(7, 5)
	p.settle(t)
	r.stop(t)

	var want, got []string
	for i := 1; i <= n; i++ {
		want = append(want, fmt.Sprintf(`{"n": %d}`, i))
	}
	for _, record := range flat(p.read(t, topic)) {
		got = append(got, string(record.Value))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d records, want %d: %q", len(got), len(want), got)
	}
}
