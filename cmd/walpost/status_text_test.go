package main

import (
	"testing"
	"time"

	"walpost/cmd/walpost/internal/report"
	"walpost/internal/reason"
	"walpost/relay/slotadmin"
)

func TestScreen(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	before := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	number := func(n int64) *int64 { return &n }
	lag := 0.25
	v := &statusView{Report: report.Report{
		Version: "1.2.3", Role: "leader", Ready: true, Since: before(3*time.Hour + 4*time.Minute),
		Slot: report.Slot{Name: "shop", Seen: before(4 * time.Second), Active: true, WALStatus: "reserved", RetainedBytes: 17 << 20, SafeBytes: number(3 << 30),
			ConfirmedLSN: "0/16B3748", ConfirmedLagBytes: number(77)},
		LagSeconds: &lag, EventsPerSecond: &report.Rates{Last10s: 1234.5, Last1m: 2.25}, InFlight: &report.InFlight{Events: 5, Bytes: 2048, LimitBytes: 32 << 20}, Events: &report.Events{Received: 105, Published: 100},
		LastEvent: before(time.Second), LastAck: before(61 * time.Second), BlockedTopics: []report.BlockedTopic{{Topic: "orders", Seconds: 1.5}, {Topic: "bills", Seconds: 1}},
		DeadLetters:  &report.DeadLetters{Events: 3, Keys: 2, Oldest: before(3*time.Hour + 4*time.Minute)},
		ParkedTopics: []report.ParkedTopic{{Topic: "bookings", Reason: reason.TopicMissing, Cure: "create it", Since: now.Add(-90 * time.Second), Events: 1, Bytes: 2048}},
	}}
	want := `relay        leader for 3 h 4 min, walpost 1.2.3
slot         shop: wal_status reserved, keeps 17.0 MiB of WAL, 3.0 GiB more are safe, confirmed up to 0/16B3748, 77 bytes behind
lag          0.2 s
throughput   1234 events/s over 10 s, 2.2 over 1 min
in flight    5 events, 2.0 KiB of 32.0 MiB
events       105 received from the slot, 100 published
last         event 1.0 s ago, ack 1 min 1 s ago, confirmation none yet
blocked      topic orders, for 1.5 s
blocked      topic bills, for 1.0 s
parked       topic bookings takes no records: 1 event, 2.0 KiB, for 1 min 30 s: topic_missing; create it
parked       3 events of 2 keys, the oldest for 3 h 4 min: walpost dead-letter list
`
	if got := v.screen(now); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	want = "03:02:01 | leader for 3 h 4 min, walpost 1.2.3 | lag 0.2 s | 1234 events/s | 5 in flight | " +
		"shop: wal_status reserved, keeps 17.0 MiB of WAL, 3.0 GiB more are safe, confirmed up to 0/16B3748, 77 bytes behind | topic orders blocked for 1.5 s | topic bills blocked for 1.0 s | topic bookings parked: 1 event | parked: 3 events of 2 keys, the oldest for 3 h 4 min: walpost dead-letter list\n"
	if got := v.line(now); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	v = &statusView{Report: report.Report{Role: "none", Reason: "no relay answers", Slot: report.Slot{Name: "shop", Seen: before(0), WALStatus: "lost", RetainedBytes: 1}},
		postgres: &slotadmin.Status{Phase: "streaming", Confirmed: "0/1", ConfirmedAt: now.Add(-50 * time.Hour)}}
	want = `relay        no relay answers
reason       no relay answers
slot         shop: nobody streams from it, wal_status lost, keeps 1 bytes of WAL
recorded     streaming, confirmed up to 0/1, which was committed 2 days 2 h ago
`
	if got := v.screen(now); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSlotLine(t *testing.T) {
	now := time.Now()
	for want, s := range map[string]report.Slot{
		"not checked yet":       {},
		"shop: not checked yet": {Name: "shop"},
		"shop does not exist":   {Name: "shop", Seen: &now},
		"shop: nobody streams from it, wal_status reserved, keeps 0 bytes of WAL without a limit": {Name: "shop", Seen: &now, WALStatus: "reserved"},
	} {
		if got := (&statusView{Report: report.Report{Slot: s}}).slotLine(now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestExitOfStatus(t *testing.T) {
	elsewhere := &slotadmin.Status{PID: 5}
	for _, test := range []struct {
		name string
		view statusView
		code int
	}{
		{"leader", statusView{Report: report.Report{Role: "leader", Ready: true}}, 0},
		{"standby", statusView{Report: report.Report{Role: "standby", Ready: true}}, 0},
		{"waiting", statusView{Report: report.Report{Role: "waiting"}}, exitDifferent},
		{"lost slot", statusView{Report: report.Report{Role: "leader", Ready: true, Slot: report.Slot{WALStatus: "lost"}}}, exitDifferent},
		{"no relay", statusView{Report: report.Report{Role: "none"}, postgres: &slotadmin.Status{}}, exitDifferent},
		{"a relay elsewhere", statusView{Report: report.Report{Role: "none"}, postgres: elsewhere}, exitRuntime},
		{"ready, and hidden", statusView{Report: report.Report{Role: "leader", Ready: true}, postgres: elsewhere, hidden: true}, 0},
		{"not ready, and hidden", statusView{Report: report.Report{Reason: "waiting"}, postgres: elsewhere, hidden: true}, exitDifferent},
	} {
		code := 0
		if err, ok := test.view.exit().(*exitError); ok {
			code = err.code
		}
		if code != test.code {
			t.Errorf("%s: exit %d, want %d", test.name, code, test.code)
		}
	}
}
