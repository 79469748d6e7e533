package backfill

import (
	"testing"

	"walpost/relay/postgres"
	"walpost/schema"
)

// TestQuery: rows are read in the order in which they were most likely inserted.
func TestQuery(t *testing.T) {
	const uuid, bigint, timestamptz, text = 2950, 20, 1184, 25
	id, number, created := schema.TableColumn{Name: "id", OID: uuid}, schema.TableColumn{Name: "id", OID: bigint}, schema.TableColumn{Name: "created_at", OID: timestamptz}
	kind := schema.TableColumn{Name: "type", OID: text}
	for _, c := range []struct {
		columns     []schema.TableColumn
		partitioned bool
		want        string
	}{
		{[]schema.TableColumn{id, kind, created}, false, `select "id", "type", "created_at" from walpost.outbox order by "created_at", ctid`},
		{[]schema.TableColumn{number, kind, created}, false, `select "id", "type", "created_at" from walpost.outbox order by "created_at", ctid`},
		{[]schema.TableColumn{number, kind}, false, `select "id", "type" from walpost.outbox order by "id", ctid`},
		{[]schema.TableColumn{id, kind}, false, `select "id", "type" from walpost.outbox order by ctid`}, // the order of UUIDs means nothing
		{[]schema.TableColumn{id, kind}, true, `select "id", "type" from walpost.outbox order by tableoid, ctid`},
		{[]schema.TableColumn{number, kind}, true, `select "id", "type" from walpost.outbox order by "id", tableoid, ctid`},
	} {
		cfg := postgres.Config{Table: schema.DefaultTable, Mapping: schema.DefaultMapping()}
		if got := query(&cfg, c.columns, c.partitioned); got != c.want {
			t.Errorf("%v, partitioned %v: %s, want %s", c.columns, c.partitioned, got, c.want)
		}
	}
	cfg := postgres.Config{Table: schema.Table{Schema: "My", Name: "events"}, Mapping: schema.DefaultMapping()}
	cfg.Mapping.Names[schema.CreatedAt] = `at "this" time`
	if got, want := query(&cfg, []schema.TableColumn{{Name: `at "this" time`, OID: timestamptz}}, false),
		`select "at ""this"" time" from "My".events order by "at ""this"" time", ctid`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
