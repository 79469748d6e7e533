package e2e

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// stopLimit is how long a server's shutdown may take while a relay is connected,
// whatever the relay does.
const stopLimit = 10 * time.Second

// stops are the ways to stop a server, and what the relay does at that time.
// busy returns a function that ends it. The oldest server gets only the cases in
// which it behaves differently.
var stops = []struct {
	name string
	old  bool
	mode pgtest.Mode
	busy func(t *testing.T, p *pipe, r *relay) (end func())
}{
	{"idle, fast", true, pgtest.Fast, nil},
	{"idle, smart", false, pgtest.Smart, nil},
	{"streaming, fast", true, pgtest.Fast, streaming},
	{"an event waits, fast", false, pgtest.Fast, func(t *testing.T, p *pipe, r *relay) func() {
		p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('late', 'waits')")
		r.awaitMetric(t, "walpost_inflight_events", 1)
		return func() {}
	}},
	{"window full, fast", true, pgtest.Fast, fullWindow},
	{"window full, smart", false, pgtest.Smart, fullWindow},
}

// streaming inserts rows until the server ends the session.
func streaming(t *testing.T, p *pipe, r *relay) func() {
	done := make(chan struct{})
	conn := p.connect(t)
	var n atomic.Int64
	go func() {
		defer close(done)
		for {
			if _, err := conn.Exec(context.Background(), "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', i::text, 'x' FROM generate_series(1, 200) i"); err != nil {
				return // the server stops
			}
			n.Add(1)
		}
	}()
	eventually(t, "rows stream", func() string {
		if r.metrics(t)["walpost_events_received_total"] < 2000 {
			return "not yet"
		}
		return ""
	})
	return func() { <-done; t.Logf("%d transactions were committed", n.Load()) }
}

// fullWindow makes events wait for a topic until the budget is used up, so that
// the relay does not read from the server.
func fullWindow(t *testing.T, p *pipe, r *relay) func() {
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type, payload) SELECT 'late', 'waits', to_jsonb(repeat('x', 100000)) FROM generate_series(1, 100)")
	eventually(t, "the window is full", func() string {
		m := r.metrics(t)
		if used, limit := m["walpost_inflight_bytes"], m["walpost_inflight_limit_bytes"]; used < limit-200_000 {
			return fmt.Sprintf("%v of %v bytes", used, limit)
		}
		return ""
	})
	return func() {}
}

// The relay never holds up a server's shutdown, and everything arrives when the
// server is back.
func TestServerStopsWithRelayAttached(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			t.Parallel() // mostly waiting
			server := pgtest.Start(t, pgtest.Options{Major: major})
			for i, stop := range stops {
				if major == pgtest.OldestMajor && !stop.old {
					continue
				}
				t.Run(stop.name, func(t *testing.T) {
					name := fmt.Sprintf("stop_%d", i)
					if err := server.CreateDatabase(t.Context(), name); err != nil {
						t.Fatal(err)
					}
					p := pipeOn(t, &pgtest.DB{Name: name, DSN: server.DSN(name), Major: server.Major()}, kafkatest.Brokers(t)).withSchema(t)
					p.stopAndStart(t, server, stop.mode, stop.busy)
				})
			}
		})
	}
}

// stopAndStart stops and starts the server while the relay is busy.
func (p *pipe) stopAndStart(t *testing.T, server *pgtest.Server, mode pgtest.Mode, busy func(*testing.T, *pipe, *relay) func()) {
	t.Helper()
	topic := p.topic(t, "order", 2, nil)
	r := p.start(t, "WALPOST_RELAY_MAX_IN_FLIGHT_BYTES=2MiB")
	truth := newOracle(t, p)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'before')")
	p.settle(t)
	end := func() {}
	if busy != nil {
		end = busy(t, p, r)
	}
	for _, conn := range []*pgx.Conn{p.conn, truth.conn} { // a smart shutdown waits for clients
		conn.Close(t.Context())
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := server.Stop(ctx, mode); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > stopLimit {
		t.Errorf("the relay held up the server's shutdown for %v", took)
	} else {
		t.Logf("the server stopped after %v", took.Round(time.Millisecond))
	}
	end()
	r.awaitUnready(t, "")
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.conn, truth.conn = p.connect(t), p.connect(t)
	late := p.topic(t, "late", 1, nil)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'after')")
	r.awaitReady(t, "leader")
	p.settle(t)
	eventually(t, "what waited for a topic is released", func() string { // a topic that fills the window is parked
		return p.hasLetters(t, 0, "reason = 'topic_blocked' AND state <> 'released'")
	})
	r.stop(t)
	rows := map[string][]row{}
	for _, row := range truth.rows(t) {
		rows[row.get("aggregatetype")] = append(rows[row.get("aggregatetype")], row)
	}
	t.Logf("%d rows, %d sent again", len(rows["order"])+len(rows["late"]), p.atLeastOnce(t, topic, rows["order"])+p.atLeastOnce(t, late, rows["late"]))
	if _, err := truth.conn.Exec(t.Context(), "SELECT pg_drop_replication_slot($1)", truth.slot); err != nil {
		t.Fatal(err)
	}
}
