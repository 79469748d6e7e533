package e2e

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// debeziumTable is the outbox of Debezium's documentation.
const debeziumTable = `CREATE TABLE outboxevent (
	id uuid NOT NULL PRIMARY KEY,
	aggregatetype varchar(255) NOT NULL,
	aggregateid varchar(255) NOT NULL,
	type varchar(255) NOT NULL,
	payload jsonb)`

// A Debezium outbox table works unchanged. Consumers that know Debezium's
// records find the key, the payload and the header id. The only new header is
// the position.
func TestDebezium(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.env["WALPOST_OUTBOX_TABLE"] = "public.outboxevent"
	p.exec(t, debeziumTable)
	p.withSchema(t)
	topic := p.topic(t, "Order", 1, nil)
	truth := newOracle(t, p)
	source := "/walpost/" + p.db.Name + "/public.outboxevent"
	insert := `INSERT INTO outboxevent VALUES
		(gen_random_uuid(), 'Order', '1', 'OrderCreated', '{"id": 1,  "lines": [{"item": "Debezium in Action", "price": 39.98}]}'),
		(gen_random_uuid(), 'Order', '', 'OrderLineUpdated', 'null'),
		(gen_random_uuid(), 'Order', '1', 'OrderDeleted', NULL)`

	r := p.start(t, "WALPOST_OUTBOX_PROFILE=debezium")
	p.exec(t, insert)
	p.settle(t)
	r.stop(t)
	r = p.start(t, "WALPOST_OUTBOX_PROFILE=debezium", "WALPOST_OUTBOX_POSITION_HEADER=false")
	p.exec(t, "BEGIN", insert, "DELETE FROM outboxevent", "COMMIT") // as Debezium's Quarkus extension does
	p.settle(t)
	r.stop(t)
	r = p.start(t)
	p.exec(t, insert)
	p.settle(t)
	r.stop(t)

	rows, records := truth.rows(t), flat(p.read(t, topic))
	if len(rows) != 9 || len(records) != 9 {
		t.Fatalf("%d records for %d rows", len(records), len(rows))
	}
	for i, row := range rows {
		got, sequence := recordOf(t, records[i]), row.sequence()
		want := record{key: row.values["aggregateid"], value: row.values["payload"], timestamp: row.committed.UnixMilli(),
			headers: map[string]*string{"id": row.values["id"]}}
		switch {
		case i < 3:
			want.headers["walpost_position"] = ptr(source + " " + sequence)
		case i >= 6:
			maps.Copy(want.headers, map[string]*string{
				"ce_specversion": ptr("1.0"), "ce_id": row.values["id"], "ce_source": &source, "ce_type": row.values["type"],
				"ce_subject": row.values["aggregateid"], "ce_time": ptr(row.committed.UTC().Format("2006-01-02T15:04:05.000000Z")),
				"ce_sequence": &sequence})
			if row.values["payload"] != nil {
				want.headers["content-type"] = ptr("application/json")
			}
		}
		diff(t, row.get("type"), got, want)
	}
}

// Columns that users of Debezium add: one for the record's timestamp, one for
// the partition, and headers.
func TestDebeziumPlacements(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.env["WALPOST_OUTBOX_TABLE"] = "public.outboxevent"
	p.env["WALPOST_OUTBOX_PROFILE"] = "debezium"
	p.env["WALPOST_OUTBOX_COLUMNS_TIMESTAMP"] = "happened"
	p.env["WALPOST_OUTBOX_COLUMNS_PARTITION"] = "place"
	p.exec(t, debeziumTable, "ALTER TABLE outboxevent ADD happened timestamp, ADD place integer, ADD headers jsonb")
	p.withSchema(t)
	topic := p.topic(t, "Order", 3, nil)
	p.exec(t, `INSERT INTO outboxevent VALUES ('0c0f1bfe-7a31-4b51-8fb4-3a5b1d1d7f01', 'Order', '1', 'OrderCreated', '{}', '2020-02-29 12:00:00.5', 2,
		'{"eventType": "OrderCreated", "content-type": "x/y", "id": "no", "ce_type": "no", "walpost_position": "no"}')`)
	r := p.start(t) // a backfill
	p.settle(t)
	r.stop(t)
	partitions := p.read(t, topic)
	if len(partitions) != 3 || len(partitions[2]) != 1 {
		t.Fatalf("records %v", partitions)
	}
	got := recordOf(t, partitions[2][0])
	names := slices.Sorted(maps.Keys(got.headers))
	if want := []string{"content-type", "eventType", "id", "walpost_position"}; !slices.Equal(names, want) {
		t.Errorf("headers %q, want %q", names, want)
	}
	if show(got.headers["content-type"]) != `"x/y"` || show(got.headers["id"]) != `"0c0f1bfe-7a31-4b51-8fb4-3a5b1d1d7f01"` {
		t.Errorf("content-type %s, id %s", show(got.headers["content-type"]), show(got.headers["id"]))
	}
	if got.timestamp != 1582977600500 {
		t.Errorf("timestamp %d", got.timestamp)
	}
}

// The dead letters of profile debezium have the types of their events, which the records do not have.
func TestDebeziumParked(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	p.env["WALPOST_OUTBOX_TABLE"] = "public.outboxevent"
	p.env["WALPOST_OUTBOX_PROFILE"] = "debezium"
	p.exec(t, debeziumTable)
	p.withSchema(t)
	p.topic(t, "Order", 1, map[string]string{"max.message.bytes": "2000"})
	r := p.start(t)
	p.exec(t, `INSERT INTO outboxevent SELECT gen_random_uuid(), 'Order', '1', 'OrderCreated', jsonb_build_object('a', string_agg(md5(i::text), '')) FROM generate_series(1, 300) i`,
		`INSERT INTO outboxevent VALUES (gen_random_uuid(), 'Order', '1', 'OrderDeleted', NULL)`)
	p.settle(t)
	if out := runs.ReplaceAllString(p.mustCLI(t, "dead-letter", "list"), " "); !strings.Contains(out, " 1 OrderCreated ") || !strings.Contains(out, " 1 OrderDeleted ") {
		t.Errorf("list does not have the types:\n%s", out)
	}
	r.stop(t)
}

var runs = regexp.MustCompile(" +")
