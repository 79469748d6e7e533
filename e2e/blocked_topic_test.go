package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// blockedPipe is a pipe with a small budget, so that a topic that takes no records is parked at once.
type blockedPipe struct {
	*pipe
	there, blocked string // topics
	kinds          string // of the events of the topic there, so far
}

func newBlockedPipe(t *testing.T, p *pipe) *blockedPipe {
	t.Helper()
	p.env["WALPOST_KAFKA_MAX_REQUEST_SIZE"] = "200000"
	p.env["WALPOST_RELAY_MAX_IN_FLIGHT_BYTES"] = "400000"
	return &blockedPipe{pipe: p, there: p.prefix + ".there", blocked: p.prefix + ".blocked"}
}

// startBlocked starts a relay on a pipe with one of the two topics.
func startBlocked(t *testing.T) (*blockedPipe, *relay) {
	t.Helper()
	b := newBlockedPipe(t, newPipe(t).withSchema(t))
	b.topic(t, "there", 1, nil)
	return b, b.start(t)
}

// insert commits an event of a topic with this key and type, and about this size.
func (b *blockedPipe) insert(t testing.TB, topic, key, kind string, bytes int) {
	t.Helper()
	b.exec(t, fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
		SELECT '%s', '%s', '%s', jsonb_build_object('a', coalesce(string_agg(md5(i::text), ''), '')) FROM generate_series(1, %d) i`, topic, key, kind, bytes/32))
	if topic == "there" {
		b.kinds = strings.TrimSpace(b.kinds + " " + kind)
	}
}

// arrived waits until a topic has exactly these events, in this order.
func (b *blockedPipe) arrived(t testing.TB, topic, want string) {
	t.Helper()
	eventually(t, topic+" has: "+want, func() string {
		if got := strings.Join(b.pipe.kinds(t, topic, ""), " "); got != want {
			return "got: " + got
		}
		return ""
	})
}

// othersFlow checks that the topic there takes its events.
func (b *blockedPipe) othersFlow(t testing.TB) {
	t.Helper()
	b.insert(t, "there", "a", "t", 0)
	b.arrived(t, b.there, b.kinds)
}

// parks fills a quarter of the budget with events of the blocked topic, and waits until these are parked.
func (b *blockedPipe) parks(t testing.TB, kinds ...string) {
	t.Helper()
	for i, kind := range kinds {
		b.insert(t, "blocked", kind[:1], kind, 150_000*(1-min(i, 1)))
	}
	eventually(t, "parked while others flow", func() string {
		b.othersFlow(t)
		return b.hasLetters(t, len(kinds), "state = 'waiting' AND reason = 'topic_blocked'")
	})
}

// letters waits until walpost.dead_letters has exactly these events: type=state, in order.
func (b *blockedPipe) letters(t testing.TB, want string) {
	t.Helper()
	eventually(t, "dead letters: "+want, func() string {
		if got := ask[string](t, b.conn, "SELECT coalesce(string_agg(type || '=' || CASE reason WHEN 'topic_blocked' THEN 'blocked' ELSE state END, ' ' ORDER BY position), '') FROM walpost.dead_letters WHERE state IN ('head', 'waiting')"); got != want {
			return "got: " + got
		}
		return ""
	})
}

// The events of a topic that does not exist wait in walpost.dead_letters, across restarts and kills, and all other topics flow. When the topic
// exists, its events come in order, as if they had not waited, and then it flows again.
func TestBlockedTopic(t *testing.T) {
	t.Parallel()
	b, r := startBlocked(t)
	b.parks(t, "a1", "b2")
	b.settle(t)
	b.insert(t, "blocked", "a", "a3", 0)
	b.letters(t, "a1=blocked b2=blocked a3=blocked")
	b.othersFlow(t)
	b.settle(t)
	r.awaitReady(t, "leader")
	if n := r.metrics(t)["walpost_parked_topics"]; n != 1 {
		t.Errorf("walpost_parked_topics is %v", n)
	}
	if out := b.mustCLI(t, "dead-letter", "retry", "--all"); strings.Contains(out, "given back") {
		t.Errorf("events that wait for their topic are given back: %s", out)
	}
	r.stop(t)
	b.insert(t, "blocked", "b", "b4", 0)
	r = b.start(t)
	b.letters(t, "a1=blocked b2=blocked a3=blocked b4=blocked")
	b.othersFlow(t)
	b.settle(t) // or an event of the other topic comes again
	r.kill()
	b.insert(t, "blocked", "a", "a5", 0)
	r = b.start(t)
	b.letters(t, "a1=blocked b2=blocked a3=blocked b4=blocked a5=blocked")
	b.othersFlow(t)
	b.settle(t)
	kafkatest.Topic(t, b.brokers, b.blocked, 1, nil)
	b.arrived(t, b.blocked, "a1 b2 a3 b4 a5")
	b.letters(t, "")
	r.awaitOutput(t, "a topic takes records again", "topic="+b.blocked)
	b.insert(t, "blocked", "a", "a6", 0)
	b.arrived(t, b.blocked, "a1 b2 a3 b4 a5 a6")
	b.settle(t)
	r.stop(t)
	if n := ask[int](t, b.conn, "SELECT count(*)::int FROM walpost.dead_letters WHERE state <> 'released'"); n != 0 {
		t.Errorf("%d dead letters are left", n)
	}
}

// With outbox.blocked_topic: wait, nothing of a blocked topic is parked.
func TestBlockedTopicWaits(t *testing.T) {
	t.Parallel()
	b := newBlockedPipe(t, newPipe(t).withSchema(t))
	b.env["WALPOST_OUTBOX_BLOCKED_TOPIC"] = "wait"
	b.topic(t, "there", 1, nil)
	r := b.start(t)
	b.insert(t, "blocked", "a", "a1", 150_000)
	r.awaitOutput(t, "waiting for topic "+b.blocked)
	for range 10 {
		b.othersFlow(t)
	}
	b.letters(t, "")
	kafkatest.Topic(t, b.brokers, b.blocked, 1, nil)
	b.arrived(t, b.blocked, "a1")
	r.stop(t)
}

// A topic that alone has used up the budget is parked although no other topic had an ack: nothing of others is read before.
func TestBlockedTopicFillsTheBudget(t *testing.T) {
	t.Parallel()
	b, r := startBlocked(t)
	for i := range 20 {
		b.insert(t, "blocked", "a", fmt.Sprint("a", i), 60_000)
	}
	b.othersFlow(t)
	r.stop(t)
}

// Beyond outbox.max_parked_bytes, events wait in memory, and walpost says so. What is discarded makes room.
func TestParkedLimit(t *testing.T) {
	t.Parallel()
	b := newBlockedPipe(t, newPipe(t).withSchema(t))
	b.env["WALPOST_OUTBOX_MAX_PARKED_BYTES"] = "100000"
	b.topic(t, "there", 1, nil)
	r := b.start(t)
	b.parks(t, "a1")
	b.insert(t, "blocked", "a", "a2", 0)
	r.awaitOutput(t, "reason=parked_limit")
	b.othersFlow(t)
	b.letters(t, "a1=blocked")
	b.mustCLI(t, "dead-letter", "discard", "--topic", b.blocked, "--reason", "topic_blocked", "--note", "a test")
	b.letters(t, "a2=blocked")
	b.settle(t)
	r.stop(t)
}

// parks40 inserts 40 events of the blocked topic, of 26 keys and of 4,000 bytes each, and waits until they wait for it. It returns their types.
func (b *blockedPipe) parks40(t testing.TB) (kinds []string) {
	t.Helper()
	for i := range 40 {
		kind := fmt.Sprintf("%c%d", 'a'+i%26, i)
		b.insert(t, "blocked", kind[:1], kind, 4000)
		kinds = append(kinds, kind)
	}
	eventually(t, "the topic is blocked", func() string {
		b.othersFlow(t)
		return b.hasLetters(t, 40, "reason = 'topic_blocked'")
	})
	b.settle(t)
	return kinds
}

// A topic that refuses everything is blocked, and not its keys: when its limit is raised, its events come by themselves.
func TestTopicThatRefusesEverything(t *testing.T) {
	t.Parallel()
	b := newBlockedPipe(t, newPipe(t).withSchema(t))
	b.topic(t, "there", 1, nil)
	b.topic(t, "blocked", 1, map[string]string{"max.message.bytes": "2000"})
	r := b.start(t)
	want := b.parks40(t)
	r.stop(t)
	r = b.start(t) // the next relay knows the reason, too
	r.awaitOutput(t, "events of a topic are parked", "reason=message_too_large")
	b.insert(t, "blocked", "z", "z40", 0)
	b.letters(t, strings.Join(want, "=blocked ")+"=blocked z40=blocked")
	b.alter(t, b.blocked, "max.message.bytes", "100000")
	b.arrived(t, b.blocked, strings.Join(want, " ")+" z40")
	b.letters(t, "")
	r.awaitOutput(t, "a topic takes records again")
	r.stop(t)
}

// A topic that does not exist, and then refuses everything, still waits as a whole.
func TestTopicThatRefusesWhatHasWaited(t *testing.T) {
	t.Parallel()
	b, r := startBlocked(t)
	want := b.parks40(t)
	kafkatest.Topic(t, b.brokers, b.blocked, 1, map[string]string{"max.message.bytes": "2000"})
	r.awaitOutput(t, "an event that waited for its topic is refused", "reason=message_too_large")
	r.awaitMetric(t, "walpost_parked_keys", 0)
	b.alter(t, b.blocked, "max.message.bytes", "100000")
	b.arrived(t, b.blocked, strings.Join(want, " "))
	b.letters(t, "")
	r.stop(t)
}

// While a few events are refused between others, the topic is not blocked.
func TestTopicThatRefusesSome(t *testing.T) {
	t.Parallel()
	b := newBlockedPipe(t, newPipe(t).withSchema(t))
	b.topic(t, "blocked", 1, map[string]string{"max.message.bytes": "2000"})
	r := b.start(t)
	arrived := ""
	for i := range 25 {
		b.insert(t, "blocked", fmt.Sprintf("large%d", i), "large", 4000)
		if i%19 == 18 {
			b.insert(t, "blocked", "small", "small", 0)
			arrived = strings.TrimSpace(arrived + " small")
			b.arrived(t, b.blocked, arrived)
		}
	}
	eventually(t, "25 heads", func() string { return b.hasLetters(t, 25, "state = 'head' AND reason = 'message_too_large'") })
	if n := r.metrics(t)["walpost_parked_topics"]; n != 0 {
		t.Errorf("walpost_parked_topics is %v", n)
	}
	r.stop(t)
}

// A row that is refused while what waited for its topic is published becomes the head of its key. Its later rows wait behind it, and all others
// are published. A key that was parked before stays parked.
func TestRefusedInADrain(t *testing.T) {
	t.Parallel()
	b, r := startBlocked(t)
	b.parks(t, "a1", "b2", "c3", "b4", "d5")
	b.exec(t, "UPDATE walpost.dead_letters SET state = 'head', reason = 'refused' WHERE type = 'c3'") // a key that was parked before
	r.stop(t)
	r = b.start(t)
	b.insert(t, "blocked", "c", "c6", 0)
	b.insert(t, "blocked", "b", "b7", 8000)
	b.insert(t, "blocked", "b", "b8", 0)
	b.insert(t, "blocked", "e", "e9", 0)
	b.letters(t, "a1=blocked b2=blocked c3=head b4=blocked d5=blocked c6=waiting b7=blocked b8=blocked e9=blocked")
	b.settle(t)
	b.exec(t, "UPDATE walpost.dead_letters SET value = '1' WHERE type = 'a1'")
	kafkatest.Topic(t, b.brokers, b.blocked, 1, map[string]string{"max.message.bytes": "2000"})
	b.arrived(t, b.blocked, "a1 b2 b4 d5 e9")
	b.letters(t, "c3=head c6=waiting b7=head b8=waiting")
	r.awaitOutput(t, "a topic takes records again")
	b.alter(t, b.blocked, "max.message.bytes", "100000")
	b.mustCLI(t, "dead-letter", "retry", "--all")
	b.letters(t, "")
	r.awaitMetric(t, "walpost_parked_keys", 0)
	b.insert(t, "blocked", "b", "b10", 0)
	eventually(t, "the keys flow", func() string {
		if got := strings.Join(b.pipe.kinds(t, b.blocked, ""), " "); strings.Count(got, ":retry") != 4 || !strings.Contains(got, "b7:retry b8:retry") || !strings.HasSuffix(got, "b10") {
			return "got: " + got
		}
		return ""
	})
	r.stop(t)
}

// A restart of Postgres while a topic is blocked, and not parked yet, does not stop the others.
func TestBlockedTopicAndPostgresRestart(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	if err := server.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	b := newBlockedPipe(t, pipeOn(t, &pgtest.DB{Name: "shop", DSN: server.DSN("shop"), Major: server.Major()}, kafkatest.Brokers(t)).withSchema(t))
	b.topic(t, "there", 1, nil)
	r := b.start(t)
	b.insert(t, "blocked", "a", "a1", 0) // too little to be parked at once
	b.othersFlow(t)
	for _, kind := range []string{"first", "second"} {
		if err := server.Stop(t.Context(), pgtest.Fast); err != nil {
			t.Fatal(err)
		}
		r.awaitUnready(t, "")
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.conn = b.connect(t)
		b.insert(t, "there", "a", kind, 0)
		eventually(t, "others flow", func() string { // what was not confirmed comes again
			if got := strings.Join(b.pipe.kinds(t, b.there, ""), " "); !strings.HasSuffix(got, " "+kind) {
				return "got: " + got
			}
			return ""
		})
	}
	kafkatest.Topic(t, b.brokers, b.blocked, 1, nil)
	b.arrived(t, b.blocked, "a1")
	b.settle(t)
	r.stop(t)
}

// A relay that is killed while it publishes what waited for a topic publishes the rest after its start, in order. Only what was on its way may
// come twice.
func TestKilledInADrain(t *testing.T) {
	t.Parallel()
	b, r := startBlocked(t)
	b.parks(t, "a1")
	const events = 30_000
	b.exec(t, fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) SELECT 'blocked', 'k'||i%%10, i::text, '1' FROM generate_series(1, %d) i`, events))
	eventually(t, "all are parked", func() string { return b.hasLetters(t, events+1, "true") })
	b.settle(t)
	kafkatest.Topic(t, b.brokers, b.blocked, 4, nil)
	client := b.client(t)
	for kills := 1; kills <= 3; kills++ {
		b.awaitSize(t, client, b.blocked, int64(kills*5000))
		r.kill()
		r = b.start(t)
	}
	b.letters(t, "")
	r.awaitOutput(t, "a topic takes records again")
	b.insert(t, "blocked", "a", "last", 0)
	b.settle(t)
	r.stop(t)
	seen, last, records := map[string]bool{}, map[string]int{}, 0
	b.each(t, b.blocked, func(record *kgo.Record) {
		records++
		kind := ""
		for _, h := range record.Headers {
			if h.Key == "ce_type" {
				kind = string(h.Value)
			}
			if h.Key == "walpost_replay" {
				t.Fatal("it has the header walpost_replay")
			}
		}
		n, err := strconv.Atoi(kind)
		key := string(record.Key)
		if err == nil && !seen[kind] {
			if n < last[key] {
				t.Fatalf("key %s: event %d comes first after event %d", key, n, last[key])
			}
			last[key] = n
		}
		seen[kind] = true
	})
	if len(seen) != events+2 {
		t.Errorf("%d different events arrived, want %d", len(seen), events+2)
	}
	t.Logf("%d records, %d of them again", records, records-len(seen))
	if again := records - len(seen); again > 3*2500 {
		t.Errorf("%d events came twice, more than what three kills explain", again)
	}
}

// startDenied starts a relay whose role may write to the topic there, and not to the other one, which exists.
func startDenied(t *testing.T, name string) (*login, *blockedPipe, *relay) {
	t.Helper()
	l := newLogin(t, name)
	b := newBlockedPipe(t, l.pipe)
	for _, topic := range []string{b.there, b.blocked} {
		kafkatest.Topic(t, b.brokers, topic, 1, nil)
	}
	l.grant(t, b.there)
	return l, b, b.start(t, l.environ()...)
}

// A missing right on one topic parks the events of that topic. They come when the right is granted. While the right is missing for every topic,
// nothing is parked.
func TestTopicWithoutRight(t *testing.T) {
	t.Parallel()
	l, b, r := startDenied(t, "user_blocked")
	b.parks(t, "a1", "b2")
	b.settle(t)
	l.grant(t, b.blocked)
	b.arrived(t, b.blocked, "a1 b2")
	b.letters(t, "")
	r.awaitOutput(t, "a topic takes records again")

	// Taken away while events flow.
	l.revoke(t, b.blocked)
	b.parks(t, "a3", "b4")
	l.grant(t, b.blocked)
	b.arrived(t, b.blocked, "a1 b2 a3 b4")
	b.letters(t, "")

	l.revoke(t, b.blocked)
	l.revoke(t, b.there)
	b.insert(t, "there", "a", "t", 0)
	r.awaitOutput(t, "waiting for partition 0 of topic "+b.there)
	b.insert(t, "blocked", "a", "a5", 150_000)
	for i := range 5 {
		b.insert(t, "there", "a", fmt.Sprint("u", i), 60_000)
	}
	r.awaitCode(t, "topic_not_authorized")
	b.letters(t, "")
	l.grant(t, b.there)
	l.grant(t, b.blocked)
	b.arrived(t, b.blocked, "a1 b2 a3 b4 a5")
	b.arrived(t, b.there, b.kinds)
	r.stop(t)
}
