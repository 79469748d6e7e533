package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// metrics are the values on /metrics, by name and labels as they are written there.
func (r *relay) metrics(t testing.TB) map[string]float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	metrics, err := r.Metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return metrics
}

// awaitMetric waits until a metric has a value.
func (r *relay) awaitMetric(t testing.TB, name string, want float64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is %v", name, want), func() string {
		r.mustRun(t)
		got, there := r.metrics(t)[name]
		if !there {
			return "it is not there"
		}
		if got != want {
			return fmt.Sprint(got)
		}
		return ""
	})
}

// The admin server of a relay that waits, streams, is blocked and ends.
func TestAdmin(t *testing.T) {
	t.Parallel() // mostly waiting
	p := newPipe(t)
	waiting := p.launch(t, "WALPOST_POSTGRES_URL=postgres://127.0.0.1:1/shop?sslmode=disable")
	waiting.awaitCode(t, "postgres_unreachable")
	waiting.awaitUnready(t, "127.0.0.1:1")
	// All metrics exist from the start, with the value 0.
	atStart := waiting.metrics(t)
	for _, name := range []string{
		"walpost_leader", `walpost_connected{target="postgres"}`, `walpost_connected{target="kafka"}`, "walpost_lag_seconds",
		"walpost_delivery_latency_seconds_count", "walpost_publish_duration_seconds_count", "walpost_events_received_total",
		"walpost_transactions_total", "walpost_backfill_rows_total", "walpost_backfill_rows_done_total",
		`walpost_retries_total{target="kafka"}`, `walpost_reconnects_total{target="kafka"}`, "walpost_inflight_events",
		"walpost_inflight_bytes", "walpost_slot_confirmed_lag_bytes", "walpost_last_event_timestamp_seconds", "walpost_last_confirm_timestamp_seconds",
	} {
		if value, there := atStart[name]; !there || value != 0 {
			t.Errorf("at the start %s is %v (there: %v), want 0", name, value, there)
		}
	}
	if limit := atStart["walpost_inflight_limit_bytes"]; limit != 32<<20 {
		t.Errorf("walpost_inflight_limit_bytes is %v, want 32 MiB", limit)
	}
	if !hasPrefix(atStart, "walpost_build_info{") {
		t.Error("no walpost_build_info")
	}
	waiting.stop(t)
	if _, _, err := waiting.get("/livez"); err == nil {
		t.Error("/livez answers after the end")
	}

	p.withSchema(t)
	topic := p.topic(t, "order", 3, nil)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) SELECT 'order', 'old' FROM generate_series(1, 5)")
	r := p.start(t)
	truth := newOracle(t, p)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type, payload) SELECT 'order', 'new', '{}' FROM generate_series(1, 7)",
		"INSERT INTO walpost.outbox (aggregatetype, type, payload) VALUES ('order', 'new', '{}')")
	p.settle(t)
	r.awaitMetric(t, fmt.Sprintf("walpost_events_published_total{topic=%q}", topic), 13)
	running := r.metrics(t)
	for name, want := range map[string]float64{
		"walpost_leader": 1, `walpost_connected{target="postgres"}`: 1, `walpost_connected{target="kafka"}`: 1, "walpost_lag_seconds": 0,
		"walpost_events_received_total": 8, "walpost_backfill_rows_total": 5, "walpost_backfill_rows_done_total": 5,
		"walpost_inflight_events": 0, "walpost_inflight_bytes": 0, fmt.Sprintf("walpost_topic_blocked_seconds{topic=%q}", topic): 0,
	} {
		if got, there := running[name]; !there || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, there, want)
		}
	}
	now := ask[float64](t, p.conn, "SELECT extract(epoch FROM clock_timestamp())::float8")
	for _, name := range []string{"walpost_last_event_timestamp_seconds", "walpost_last_confirm_timestamp_seconds"} {
		if at := running[name]; at < now-60 || at > now+60 {
			t.Errorf("%s is %v, and it is %v", name, at, now)
		}
	}
	for _, name := range []string{"walpost_delivery_latency_seconds_count", "walpost_publish_duration_seconds_count", "walpost_transactions_total",
		fmt.Sprintf("walpost_published_bytes_total{topic=%q}", topic)} {
		if running[name] <= 0 {
			t.Errorf("%s is %v", name, running[name])
		}
	}

	// An event that waits makes it unready after ten seconds. It is ready
	// again when the event has been sent.
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('absent', 'waits')")
	r.awaitMetric(t, "walpost_inflight_events", 1)
	r.awaitCode(t, "topic_missing")
	r.awaitUnready(t, p.prefix+".absent")
	if blocked := r.metrics(t)[fmt.Sprintf("walpost_topic_blocked_seconds{topic=%q}", p.prefix+".absent")]; blocked <= 0 {
		t.Errorf("walpost_topic_blocked_seconds is %v", blocked)
	}
	if lag := r.metrics(t)["walpost_lag_seconds"]; lag < 5 {
		t.Errorf("walpost_lag_seconds is %v", lag)
	}
	p.topic(t, "absent", 1, nil)
	r.awaitReady(t, "leader")
	p.settle(t)
	r.stop(t)
	if got, want := len(flat(p.read(t, topic))), 5+8; got != want || len(truth.rows(t)) != 9 {
		t.Errorf("topic %s has %d records, want %d", topic, got, want)
	}
}

func hasPrefix(m map[string]float64, prefix string) bool {
	for name := range m {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
