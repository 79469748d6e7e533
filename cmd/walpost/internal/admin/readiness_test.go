package admin

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"walpost/relay"
	"walpost/sink"
)

func TestReadiness(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name    string
		state   *relay.State
		waits   []sink.Wait
		leaving bool
		code    int
		body    string
	}{
		{name: "no relay yet", code: 503, body: `{"reason":"starting"}`},
		{name: "starting", state: &relay.State{Role: relay.Starting, Reason: "connecting to Postgres"}, code: 503, body: `{"reason":"connecting to Postgres"}`},
		{name: "waiting without a word", state: &relay.State{Role: relay.Waiting}, code: 503, body: `{"reason":"waiting"}`},
		{name: "leader", state: &relay.State{Role: relay.Leader}, code: 200, body: `{"role":"leader"}`},
		{name: "leader with a silent walsender", state: &relay.State{Role: relay.Leader, Reason: "it works"}, code: 200, body: `{"reason":"it works","role":"leader"}`},
		{name: "standby", state: &relay.State{Role: relay.Standby, Reason: "another holds the slot"}, code: 200, body: `{"role":"standby"}`},
		{name: "acks come", state: &relay.State{Role: relay.Leader, Unacked: 5, UnackedSince: now.Add(-9 * time.Second)}, code: 200, body: `{"role":"leader"}`},
		{name: "acks stay away", state: &relay.State{Role: relay.Leader, Unacked: 5, UnackedSince: now.Add(-12 * time.Second)}, code: 503,
			body: `{"reason":"Kafka has acknowledged nothing for 12s; 5 events wait"}`},
		{name: "one topic flows, another does not", state: &relay.State{Role: relay.Leader, Unacked: 7, UnackedSince: now}, code: 503,
			waits: []sink.Wait{{Topic: "orders", Since: now.Add(-12 * time.Second), Err: errors.New("no\n\tleader")}, {Topic: "points", Since: now}},
			body:  `{"reason":"Kafka has not acknowledged events of topic orders for 12s (no leader); 7 events wait"}`},
		{name: "a topic waits for an operator", state: &relay.State{Role: relay.Leader, Unacked: 7, UnackedSince: now}, code: 503,
			waits: []sink.Wait{{Topic: "orders", Since: now.Add(-12 * time.Second), Err: errors.New("no right"), Cure: "grant it"}},
			body:  `{"reason":"Kafka has not acknowledged events of topic orders for 12s (no right; grant it); 7 events wait"}`},
		{name: "topics wait, but not for long", state: &relay.State{Role: relay.Leader, Unacked: 7, UnackedSince: now}, code: 200,
			waits: []sink.Wait{{Topic: "orders", Since: now.Add(-9 * time.Second), Err: errors.New("no leader")}}, body: `{"role":"leader"}`},
		{name: "many topics wait", state: &relay.State{Role: relay.Leader, Unacked: 7}, code: 503, waits: slices.Repeat([]sink.Wait{{Topic: "t", Since: now.Add(-time.Minute)}}, 5),
			body: `{"reason":"Kafka has not acknowledged events of topic t for 1m0s, topic t for 1m0s, topic t for 1m0s, 2 more topics; 7 events wait"}`},
		{name: "leaving", state: &relay.State{Role: relay.Leader}, leaving: true, code: 503, body: `{"reason":"stopping"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := &Server{}
			if test.state != nil {
				a.WatchRelay(func() relay.State { return *test.state })
			}
			if test.waits != nil {
				a.WatchSink("walpost", func() sink.Status { return sink.Status{Waits: test.waits} })
			}
			if test.leaving {
				a.Leave()
			}
			code, body := a.readiness(now)
			text, err := json.Marshal(body)
			if err != nil || code != test.code || string(text) != test.body {
				t.Errorf("%d %s %v, want %d %s", code, text, err, test.code, test.body)
			}
		})
	}
}
