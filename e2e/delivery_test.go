package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// Everything that can happen to rows before a commit. All committed rows arrive
// once, unchanged, in commit order, and no other rows arrive.
func TestDelivery(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			t.Parallel()
			testDelivery(t, pipeOn(t, pgtest.NewMajor(t, major), kafkatest.Brokers(t)).withSchema(t))
		})
	}
}

const deliveryPartitions = 5

func testDelivery(t *testing.T, p *pipe) {
	topics := map[string]string{}
	for _, aggregate := range []string{"order", "payment"} {
		topics[aggregate] = p.topic(t, aggregate, deliveryPartitions, nil)
	}
	r := p.start(t)
	truth := newOracle(t, p)
	want := commitRows(t, p)
	p.settle(t)
	r.stop(t)

	rows := truth.rows(t)
	var types []string
	for _, row := range rows {
		types = append(types, row.get("type"))
	}
	slices.Sort(types)
	slices.Sort(want)
	if !slices.Equal(types, want) {
		t.Fatalf("the test committed\n%q\nand the WAL has\n%q", want, types)
	}
	for aggregate, topic := range topics {
		p.compare(t, topic, slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.get("aggregatetype") != aggregate }))
	}
}

// compare checks that a topic has exactly the records of the rows, each in its
// partition, in commit order.
func (p *pipe) compare(t *testing.T, topic string, rows []row) {
	t.Helper()
	got := p.read(t, topic)
	for n, want := range byPartition(rows, deliveryPartitions) {
		if n >= len(got) {
			got = append(got, nil)
		}
		if len(got[n]) != len(want) {
			t.Errorf("%s: partition %d has %d records, want %d", topic, n, len(got[n]), len(want))
		}
		last := ""
		for i := range min(len(got[n]), len(want)) {
			at := fmt.Sprintf("%s, partition %d, offset %d (%s)", topic, n, i, want[i].get("type"))
			is := recordOf(t, got[n][i])
			diff(t, at, is, p.recordFor(t, want[i], userHeaders[want[i].get("type")]))
			if sequence := is.headers["ce_sequence"]; sequence != nil {
				if *sequence <= last {
					t.Errorf("%s: ce_sequence %s after %s", at, *sequence, last)
				}
				last = *sequence
			}
		}
	}
}

// userHeaders are the headers from the headers column, by the row's type.
var userHeaders = map[string]map[string]*string{
	"headers": {
		"traceparent": ptr("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), "n": ptr("1.50"),
		"list": ptr(`[1,"a",{"b":null}]`), "none": nil, "empty": ptr(""), "": ptr("no name"), "ünï": ptr("größe\n"), "flag": ptr("true"),
	},
	"own content type": {"content-type": ptr("application/avro")},
}

func ptr(s string) *string { return &s }

// commitRows commits rows in every possible way, and returns the types of those
// that have to arrive.
func commitRows(t *testing.T, p *pipe) []string {
	t.Helper()
	a, b := p.connect(t), p.connect(t)
	insert := func(conn *pgx.Conn, key, typ string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), `INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
			VALUES ('order', $1, $2, jsonb_build_object('of', $2::text))`, key, typ); err != nil {
			t.Fatal(err)
		}
	}

	// Three concurrent transactions with the same keys: the order of their
	// commits counts, and not the order of their inserts.
	execOn(t, a, "BEGIN")
	insert(a, "k1", "a1")
	execOn(t, b, "BEGIN")
	insert(b, "k1", "b1")
	insert(p.conn, "k1", "alone")
	execOn(t, b, "SAVEPOINT s")
	insert(b, "k2", "rolled back to savepoint")
	execOn(t, b, "SAVEPOINT nested")
	insert(b, "k2", "rolled back with the outer savepoint")
	execOn(t, b, "RELEASE nested", "ROLLBACK TO s")
	insert(b, "k1", "b2")
	execOn(t, b, "SAVEPOINT released")
	insert(b, "k2", "b3")
	execOn(t, b, "RELEASE released")
	insert(a, "k2", "a2")
	execOn(t, b, "COMMIT")
	copied, err := a.CopyFrom(t.Context(), pgx.Identifier{"walpost", "outbox"}, []string{"aggregatetype", "aggregateid", "type", "payload"},
		pgx.CopyFromSlice(40, func(i int) ([]any, error) {
			return []any{"order", fmt.Sprintf("copy-%d", i%7), "copied", map[string]int{"i": i}}, nil
		}))
	if err != nil || copied != 40 {
		t.Fatalf("COPY: %d rows, %v", copied, err)
	}
	execOn(t, a, "COMMIT")
	want := slices.Concat([]string{"a1", "a2", "b1", "b2", "b3", "alone"}, slices.Repeat([]string{"copied"}, 40))

	execOn(t, a, "BEGIN")
	insert(a, "k1", "rolled back")
	execOn(t, a, "ROLLBACK")

	// Inserted and deleted in one transaction, so that the table stays empty.
	execOn(t, a, "BEGIN")
	insert(a, "k1", "deleted at once")
	execOn(t, a, "DELETE FROM walpost.outbox WHERE type = 'deleted at once'", "COMMIT",
		// A caught exception is a rollback to a savepoint. An update and a
		// delete are not events.
		`DO $$ BEGIN
			INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) VALUES ('order', 'k1', 'swallowed');
			PERFORM 1/0;
		EXCEPTION WHEN division_by_zero THEN NULL; END $$`,
		"UPDATE walpost.outbox SET payload = '{}' WHERE type = 'a1'", "DELETE FROM walpost.outbox WHERE type = 'a2'")
	want = append(want, "deleted at once")

	const id = "00000000-0000-4000-8000-000000000001"
	upsert := `INSERT INTO walpost.outbox (id, aggregatetype, aggregateid, type) VALUES ('` + id + `', 'order', 'k3', '%s') ON CONFLICT (id) DO %s`
	execOn(t, a, fmt.Sprintf(upsert, "fresh", "NOTHING"), fmt.Sprintf(upsert, "in conflict", "NOTHING"),
		fmt.Sprintf(upsert, "in conflict", "UPDATE SET payload = '{}'"))
	want = append(want, "fresh")

	execOn(t, a, "BEGIN")
	insert(a, "k1", "prepared")
	execOn(t, a, "PREPARE TRANSACTION '"+p.db.Name+" 1'", "BEGIN")
	insert(a, "k1", "prepared, rolled back")
	execOn(t, a, "PREPARE TRANSACTION '"+p.db.Name+" 2'")
	insert(b, "k1", "before the prepared one")
	execOn(t, a, "COMMIT PREPARED '"+p.db.Name+" 1'", "ROLLBACK PREPARED '"+p.db.Name+" 2'")
	want = append(want, "prepared", "before the prepared one")

	return append(want, commitShapes(t, p)...)
}

// commitShapes commits rows of every shape, one at a time.
func commitShapes(t *testing.T, p *pipe) []string {
	t.Helper()
	shapes := map[string]string{
		"null key":         `NULL, '{"a": 1}', NULL`,
		"empty key":        `'', '{"a": 1}', NULL`,
		"long key":         `'ключ-'||repeat('κ', 500), '{"a": 1}', NULL`,
		"tombstone":        `'k1', NULL, NULL`,
		"null everything":  `NULL, NULL, NULL`,
		"json null":        `'k1', 'null', NULL`,
		"large":            `'k1', jsonb_build_object('a', repeat('x', 300000)), NULL`,
		"numbers":          `'k1', '{"b": 1.000, "a": 12345678901234567890}', '{}'`,
		"own content type": `'k1', '{}', '{"content-type": "application/avro", "id": "no", "ce_type": "no", "walpost_replay": "no"}'`,
		"headers": `'k1', '{}', '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "n": 1.50, "list": [1, "a", {"b": null}],
			"none": null, "empty": "", "": "no name", "ünï": "größe\n", "flag": true}'`,
	}
	for typ, columns := range shapes {
		for _, aggregate := range []string{"order", "payment"} {
			p.exec(t, `INSERT INTO walpost.outbox (aggregatetype, type, aggregateid, payload, headers) VALUES ('`+aggregate+`', '`+typ+`', `+columns+`)`)
		}
	}
	// An empty type counts as the aggregatetype.
	p.exec(t, `INSERT INTO walpost.outbox (aggregatetype, type, aggregateid) VALUES ('payment', '', 'k9')`,
		`SELECT walpost.publish('payment', 'k9', 'published', '{"by": "function"}')`)
	types := slices.Collect(maps.Keys(shapes))
	return slices.Concat(types, types, []string{"", "published"})
}
