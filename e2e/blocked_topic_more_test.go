package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// parkedNothing checks that walpost.dead_letters has never had a row.
func (b *blockedPipe) parkedNothing(t testing.TB) {
	t.Helper()
	if ask[bool](t, b.conn, "SELECT is_called FROM walpost.dead_letters_id_seq") {
		t.Fatal("something was parked: " + ask[string](t, b.conn, "SELECT coalesce(string_agg(concat_ws(' ', topic, type, state, reason, detail), E'\\n'), 'it is gone') FROM walpost.dead_letters"))
	}
}

// fills inserts events of both topics, more than the budget and a quarter of it for each.
func (b *blockedPipe) fills(t testing.TB) {
	t.Helper()
	b.insert(t, "blocked", "a", "a2", 150_000)
	for i := range 8 {
		b.insert(t, "there", "a", fmt.Sprint("u", i), 60_000)
	}
}

// While no broker answers, nothing is parked, although brokers have named a condition of a topic before.
func TestNothingIsParkedWhileKafkaIsAway(t *testing.T) {
	t.Parallel()
	kafka := kafkatest.Start(t, kafkatest.Options{})
	b := newBlockedPipe(t, pipeOn(t, pgtest.New(t), kafka.Brokers()).withSchema(t))
	b.topic(t, "there", 1, nil)
	r := b.start(t)
	b.insert(t, "blocked", "a", "a1", 0) // too little to be parked at once
	r.awaitOutput(t, "waiting for topic "+b.blocked)
	b.othersFlow(t)
	if err := kafka.Kill(1); err != nil {
		t.Fatal(err)
	}
	b.fills(t)
	r.awaitOutput(t, "waiting for partition 0 of topic "+b.there)
	r.awaitUnready(t, "")
	b.parkedNothing(t)
	if err := kafka.StartNode(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	b.arrived(t, b.there, b.kinds)
	kafkatest.Topic(t, b.brokers, b.blocked, 1, nil)
	b.arrived(t, b.blocked, "a1 a2")
	b.settle(t)
	r.stop(t)
}

// While the login is refused, nothing is parked.
func TestNothingIsParkedWhileTheLoginIsRefused(t *testing.T) {
	t.Parallel()
	l, b, r := startDenied(t, "user_refused")
	b.insert(t, "blocked", "a", "a1", 0)
	r.awaitOutput(t, "waiting for topic "+b.blocked)
	b.othersFlow(t)
	l.kafkaPassword(t, "another-word")
	eventually(t, "the login is refused", func() string { // brokers end a session after a time, and walpost logs in again while it sends
		b.insert(t, "there", "a", "t", 0)
		if !strings.Contains(r.output(), "SASL Authentication failed") {
			return "not yet"
		}
		return ""
	})
	b.fills(t)
	r.awaitUnready(t, "")
	b.parkedNothing(t)
	l.kafkaPassword(t, "hidden-word")
	l.grant(t, b.blocked)
	b.arrived(t, b.there, b.kinds)
	b.arrived(t, b.blocked, "a1 a2")
	b.settle(t)
	r.stop(t)
}

// Several topics are blocked at once. Each waits, and comes back, on its own.
func TestSeveralBlockedTopics(t *testing.T) {
	t.Parallel()
	b, r := startBlocked(t)
	names := []string{"x", "y", "z"}
	for round := range 3 {
		for _, name := range names {
			b.insert(t, name, "a", fmt.Sprint(name, round), 120_000) // three of them are more than the budget
		}
	}
	b.othersFlow(t)
	b.letters(t, "x0=blocked y0=blocked z0=blocked x1=blocked y1=blocked z1=blocked x2=blocked y2=blocked z2=blocked")
	r.awaitMetric(t, "walpost_parked_topics", 3)
	for i, name := range []string{"y", "x", "z"} {
		kafkatest.Topic(t, b.brokers, b.prefix+"."+name, 2, nil)
		b.arrived(t, b.prefix+"."+name, fmt.Sprintf("%[1]s0 %[1]s1 %[1]s2", name))
		r.awaitMetric(t, "walpost_parked_topics", float64(2-i))
		b.othersFlow(t)
		b.insert(t, name, "a", name+"3", 0)
		b.arrived(t, b.prefix+"."+name, fmt.Sprintf("%[1]s0 %[1]s1 %[1]s2 %[1]s3", name))
	}
	b.settle(t)
	r.stop(t)
}

// A topic that appears while its events are being parked gets each of them once, in order.
func TestTopicAppearsWhileItIsParked(t *testing.T) {
	t.Parallel()
	b, r := startBlocked(t)
	const events = 20_000
	b.exec(t, fmt.Sprintf(`DO $$ BEGIN FOR b IN 0 .. %d LOOP
		INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) SELECT 'blocked', 'k'||i %% 10, lpad(i::text, 5, '0'), '1' FROM generate_series(b * 100, b * 100 + 99) i;
		COMMIT; END LOOP; END $$`, events/100-1))
	eventually(t, "some are parked", func() string {
		return ask[string](t, b.conn, "SELECT CASE WHEN is_called THEN '' ELSE 'not yet' END FROM walpost.dead_letters_id_seq")
	})
	kafkatest.Topic(t, b.brokers, b.blocked, 4, nil)
	r.awaitOutput(t, "a topic takes records again")
	b.letters(t, "")
	b.settle(t)
	r.stop(t)
	last, records := map[string]string{}, 0
	b.each(t, b.blocked, func(record *kgo.Record) {
		records++
		for _, h := range record.Headers {
			if h.Key == "ce_type" {
				if kind := string(h.Value); kind <= last[string(record.Key)] {
					t.Fatalf("key %s: event %s after event %s", record.Key, kind, last[string(record.Key)])
				} else {
					last[string(record.Key)] = kind
				}
			}
		}
	})
	if records != events {
		t.Errorf("%d records, want %d", records, events)
	}
}

// When a relay dies while a topic is blocked, the one that stands by goes on: nothing is parked twice, and nothing is published twice.
func TestTakeoverWhileATopicIsBlocked(t *testing.T) {
	t.Parallel()
	b, leader := startBlocked(t)
	b.parks(t, "a1", "b2")
	second := b.launch(t)
	second.awaitReady(t, "standby")
	b.settle(t)
	leader.kill()
	second.awaitReady(t, "leader")
	b.insert(t, "blocked", "a", "a3", 0)
	b.letters(t, "a1=blocked b2=blocked a3=blocked")
	b.othersFlow(t)
	third := b.launch(t)
	third.awaitReady(t, "standby")
	b.settle(t)
	kafkatest.Topic(t, b.brokers, b.blocked, 1, nil)
	b.arrived(t, b.blocked, "a1 b2 a3")
	second.awaitMetric(t, "walpost_parked_topics", 0)
	b.settle(t)
	second.kill()
	third.awaitReady(t, "leader")
	b.insert(t, "blocked", "b", "b4", 0)
	b.arrived(t, b.blocked, "a1 b2 a3 b4")
	b.letters(t, "")
	b.settle(t)
	third.stop(t)
	if got := ask[string](t, b.conn, "SELECT coalesce(string_agg(DISTINCT state, ' '), '') FROM walpost.dead_letters"); strings.Trim(got, " ") != "" && got != "released" {
		t.Errorf("dead letters: %s", got)
	}
}
