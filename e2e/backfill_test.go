package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// A first start with rows in the table while more are committed: all rows
// arrive, none twice. The old rows come first, in the order of their creation.
func TestBackfill(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	const before = 3000
	p.exec(t, fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload, created_at)
		SELECT 'order', 'old-'||i %% 10, 'old', jsonb_build_object('i', i), timestamptz '2024-05-06 07:08:09Z' - i * interval '1 second'
		FROM generate_series(1, %d) i`, before))
	load := startLoad(t, p, 4, 300)
	eventually(t, "rows are being committed", func() string {
		if load.committed.Load() < 50 {
			return "not yet"
		}
		return ""
	})
	r := p.start(t)
	p.awaitMore(t, p.client(t), topic, before+500)
	load.stop(t)
	p.settle(t)
	r.stop(t)

	records := flat(p.read(t, topic))
	seen := make(map[string]bool)
	last, live := "", 0
	for i, record := range records {
		h := headers(t, record)
		if id := show(h["id"]); seen[id] {
			t.Errorf("event %s came twice", id)
		} else {
			seen[id] = true
		}
		if sequence := show(h["ce_sequence"]); sequence <= last {
			t.Errorf("offset %d: ce_sequence %s after %s", i, sequence, last)
		} else {
			last = sequence
		}
		if typ := *h["ce_type"]; i < before {
			want := fmt.Sprintf(`{"i": %d}`, before-i)
			if typ != "old" || string(record.Value) != want {
				t.Errorf("offset %d: %s %s, want old %s", i, typ, record.Value, want)
			}
			if age := ask[float64](t, p.conn, "SELECT extract(epoch FROM now() - to_timestamp($1::float8))", record.Timestamp.Unix()); age > 600 {
				t.Fatalf("offset %d: the record of an old row is %v s old, but must have the present time", i, age)
			}
		} else if typ == "loaded" {
			live++
		}
	}
	committed := ask[int](t, p.conn, "SELECT count(*) FROM walpost.outbox")
	if len(records) != committed {
		t.Errorf("%d records for %d rows", len(records), committed)
	}
	t.Logf("%d old rows, %d new ones", before, len(records)-before)
	if live == 0 {
		t.Error("no row was committed while the relay ran, so the test shows nothing")
	}
	// The position of the backfilled rows is one byte before the slot's beginning.
	first := *headers(t, records[0])["ce_sequence"]
	if !strings.HasSuffix(first, "-00000000") || !strings.HasPrefix(first, "00000001-") {
		t.Errorf("the first row's ce_sequence is %s", first)
	}
}

// With outbox.backfill: skip, the log has the number of rows, and they stay in
// the table.
func TestBackfillSkip(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) SELECT 'order', 'old' FROM generate_series(1, 17)")
	r := p.start(t, "WALPOST_OUTBOX_BACKFILL=skip")
	r.awaitOutput(t, "rows=17")
	truth := newOracle(t, p)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'new')")
	p.settle(t)
	r.stop(t)
	p.exactlyOnce(t, topic, truth.rows(t))
}

// Least privileges: the relay and a service use the two roles of schema apply,
// and the owner creates the publication. PUBLIC may not execute new functions,
// so each function that a role calls must be granted to it.
func TestRoles(t *testing.T) {
	t.Parallel()
	p := newPipe(t)
	app, relay := p.db.Name+"_app", p.db.Name+"_relay"
	for _, role := range []string{app, relay} {
		p.exec(t, "CREATE ROLE "+role+" LOGIN PASSWORD 'secret-"+role+"'")
		t.Cleanup(func() {
			for _, sql := range []string{"DROP OWNED BY " + role, "DROP ROLE " + role} {
				if _, err := p.superuser(context.Background(), sql); err != nil {
					t.Errorf("%s: %v", sql, err)
				}
			}
		})
	}
	p.exec(t, "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
	p.withSchema(t, "--app-role", app, "--relay-role", relay)
	topic := p.topic(t, "order", 2, nil)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'from before')")
	r := p.start(t, "WALPOST_POSTGRES_URL="+p.as(t, relay, "secret-"+relay))
	truth := newOracle(t, p)
	p.exec(t, "SET ROLE "+app,
		"SELECT walpost.publish('order', 'k', 'by function', '{}')",
		"INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'by insert')",
		"SELECT walpost.claim('stock', 'e1')",
		"RESET ROLE")
	p.settle(t)
	r.stop(t)
	if strings.Contains(r.output(), "secret-"+relay) {
		t.Error("the password is in the log")
	}
	if got, want := len(flat(p.read(t, topic))), 1+len(truth.rows(t)); got != want || want != 3 {
		t.Errorf("%d records for %d rows, of which 3 were committed", got, want)
	}
	if check := p.cli(t, nil, "schema", "check", "--app-role", app, "--relay-role", relay); check.code != 0 {
		t.Errorf("schema check: exit %d\n%s%s", check.code, check.stdout, check.stderr)
	}
}
