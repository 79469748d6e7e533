package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/reason"
	"walpost/relay"
	"walpost/relay/parking"
	"walpost/sink"
)

// TestReadiness: /readyz shows only a code, for every state of relay and sink. The report has the text.
func TestReadiness(t *testing.T) {
	now := time.Now()
	const leader = "200 {\"role\":\"leader\"}"
	for _, test := range []struct {
		name     string
		state    *relay.State
		sink     *sink.Status
		stopping bool
		answer   string
		text     string
	}{
		{name: "no relay yet", answer: `503 {"reason":"starting"}`, text: "starting"},
		{name: "starting", state: &relay.State{Role: relay.Starting, Code: reason.Starting, Reason: "connecting to Postgres"}, answer: `503 {"reason":"starting"}`, text: "connecting to Postgres"},
		{name: "waiting", state: &relay.State{Role: relay.Waiting, Code: reason.PostgresLogin, Reason: "connect to db as relay: refused"}, answer: `503 {"reason":"postgres_login"}`,
			text: "connect to db as relay: refused"},
		{name: "the sink waits", state: &relay.State{Role: relay.Waiting, Code: reason.StreamLost, Reason: "the session ended"},
			sink: &sink.Status{Opening: reason.With(reason.KafkaUnreachable, errors.New("connect to Kafka at\n\tkafka:9092"))}, answer: `503 {"reason":"kafka_unreachable"}`,
			text: "connect to Kafka at kafka:9092"},
		{name: "leader", state: &relay.State{Role: relay.Leader}, answer: leader},
		{name: "leader with a silent walsender", state: &relay.State{Role: relay.Leader, Code: reason.WalsenderSilent, Reason: "it works"}, answer: leader, text: "it works"},
		{name: "Postgres waits for a standby", state: &relay.State{Role: relay.Leader, Code: reason.StandbySlotAway, Reason: "start it"}, answer: `503 {"reason":"standby_slot_away"}`, text: "start it"},
		{name: "events cannot be parked", state: &relay.State{Role: relay.Leader, Parked: parking.Parked{What: "events cannot be parked", Waits: "table locked", WaitsCode: reason.PostgresError, WaitsSince: now.Add(-11 * time.Second)}},
			answer: `503 {"reason":"postgres_error"}`, text: "events cannot be parked for 11s: table locked"},
		{name: "bad events wait, but not for long", state: &relay.State{Role: relay.Leader, Parked: parking.Parked{What: "events cannot be parked", Waits: "table locked", WaitsCode: reason.PostgresError, WaitsSince: now.Add(-9 * time.Second)}}, answer: leader},
		{name: "standby", state: &relay.State{Role: relay.Standby, Code: reason.SlotHeld, Reason: "another holds the slot"}, answer: `200 {"role":"standby"}`, text: "another holds the slot"},
		{name: "acks come", state: &relay.State{Role: relay.Leader, Unacked: 5, UnackedSince: now.Add(-9 * time.Second)}, answer: leader},
		{name: "acks stay away", state: &relay.State{Role: relay.Leader, Unacked: 5, UnackedSince: now.Add(-time.Hour)}, answer: `503 {"reason":"acks_overdue"}`,
			text: "Kafka has acknowledged nothing for 1h0m0s; 5 events wait"},
		{name: "one topic flows, another does not", state: &relay.State{Role: relay.Leader, Unacked: 7, UnackedSince: now},
			sink:   waits(sink.Wait{Topic: "orders", Since: now.Add(-time.Hour), Err: errors.New("no\n\tleader"), Code: reason.KafkaNotReady}, sink.Wait{Topic: "points", Since: now}),
			answer: `503 {"reason":"kafka_not_ready"}`, text: "Kafka has not acknowledged events of topic orders for 1h0m0s (no leader); 7 events wait"},
		{name: "a topic waits for an operator", state: &relay.State{Role: relay.Leader, Unacked: 7, UnackedSince: now},
			sink:   waits(sink.Wait{Topic: "orders", Since: now.Add(-time.Hour), Err: errors.New("no right"), Code: reason.TopicNotAuthorized, Cure: "grant it"}),
			answer: `503 {"reason":"topic_not_authorized"}`, text: "Kafka has not acknowledged events of topic orders for 1h0m0s (no right; grant it); 7 events wait"},
		{name: "topics wait, but not for long", state: &relay.State{Role: relay.Leader, Unacked: 7, UnackedSince: now},
			sink: waits(sink.Wait{Topic: "orders", Since: now.Add(-9 * time.Second), Err: errors.New("no leader"), Code: reason.KafkaNotReady}), answer: leader},
		{name: "many topics wait", state: &relay.State{Role: relay.Leader, Unacked: 7}, sink: waits(slices.Repeat([]sink.Wait{{Topic: "t", Since: now.Add(-time.Hour)}}, 5)...),
			answer: `503 {"reason":"acks_overdue"}`, text: "Kafka has not acknowledged events of topic t for 1h0m0s, topic t for 1h0m0s, topic t for 1h0m0s, 2 more topics; 7 events wait"},
		{name: "stopping", state: &relay.State{Role: relay.Leader}, stopping: true, answer: `503 {"reason":"stopping"}`, text: "stopping"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := &Server{}
			if test.state != nil {
				a.WatchRelay(func() relay.State { return *test.state })
			}
			if test.sink != nil {
				a.WatchSink("walpost", func() sink.Status { return *test.sink })
			}
			if test.stopping {
				a.SetStopping()
			}
			res := httptest.NewRecorder()
			a.routes(prometheus.NewRegistry()).ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if got := fmt.Sprint(res.Code, " ", strings.TrimSpace(res.Body.String())); got != test.answer {
				t.Errorf("/readyz: %s, want %s", got, test.answer)
			}
			r := a.report(now)
			if r.Reason != test.text || r.Ready != (res.Code == http.StatusOK) || r.Reason != "" && r.ReasonCode == "" {
				t.Errorf("reported: ready %v, %s, %q; want %q", r.Ready, r.ReasonCode, r.Reason, test.text)
			}
		})
	}
}

func waits(w ...sink.Wait) *sink.Status { return &sink.Status{Waits: w} }
