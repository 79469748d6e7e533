package relay

import (
	"testing"

	"walpost/relay/internal/dbtest"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	f.Insert(4)
	r := f.launch()
	values := gather(t, r.registry)
	for _, name := range []string{
		"leader", "connected/postgres", "lag_seconds", "delivery_latency_seconds", "events_received_total", "transactions_total", "backfill_rows_total",
		"backfill_rows_done_total", "reconnects_total/postgres", "inflight_events", "inflight_bytes", "inflight_limit_bytes",
		"slot_confirmed_lag_bytes", "last_event_timestamp_seconds", "last_confirm_timestamp_seconds",
	} {
		if _, ok := values["walpost_"+name]; !ok {
			t.Errorf("no metric %s from the start", name)
		}
	}
	dbtest.Until(t, "the backfill's rows", func() bool { return f.sink.count() == 4 })
	f.sink.ack(4)
	dbtest.Until(t, "the relay leads", func() bool { return r.relay.State().Role == Leader })
	f.Insert(2)
	f.Insert(1)
	dbtest.Until(t, "3 events", func() bool { return f.sink.count() == 3+4 })
	f.sink.ack(2)
	want := map[string]float64{
		"leader": 1, "connected/postgres": 1, "delivery_latency_seconds": 1, "events_received_total": 3, "backfill_rows_total": 4,
		"backfill_rows_done_total": 4, "reconnects_total/postgres": 0, "inflight_events": 1, "inflight_limit_bytes": 32 << 20,
	}
	dbtest.Until(t, "the confirmation", func() bool { return gather(t, r.registry)["walpost_last_confirm_timestamp_seconds"] > 0 })
	values = gather(t, r.registry)
	for name, v := range want {
		if got := values["walpost_"+name]; got != v {
			t.Errorf("%s = %v, want %v", name, got, v)
		}
	}
	for _, name := range []string{"inflight_bytes", "lag_seconds", "transactions_total", "last_event_timestamp_seconds"} {
		if values["walpost_"+name] <= 0 {
			t.Errorf("%s = %v", name, values["walpost_"+name])
		}
	}
	s := r.relay.State()
	if s.Role != Leader || s.Reason != "" || s.Unacked != 1 || s.UnackedSince.IsZero() || s.LastAck.IsZero() || s.LastEvent.IsZero() || s.LastConfirm.IsZero() ||
		s.Received != 3 || s.Acked != 2 || s.Transactions == 0 {
		t.Errorf("state %+v", s)
	}
	f.sink.setAuto(true)
	dbtest.Until(t, "nothing in flight", func() bool { return gather(t, r.registry)["walpost_inflight_events"] == 0 })
	if s := r.relay.State(); s.Unacked != 0 || !s.UnackedSince.IsZero() {
		t.Errorf("state %+v", s)
	}
	if lag := gather(t, r.registry)["walpost_lag_seconds"]; lag != 0 {
		t.Errorf("lag %v with nothing in flight", lag)
	}
	r.stop()
	if values := gather(t, r.registry); values["walpost_leader"] != 0 || values["walpost_connected/postgres"] != 0 {
		t.Error("a stopped relay leads")
	}
}
