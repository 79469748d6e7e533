package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// alertOnMoreThan0 returns the metric on which the alert of deploy/prometheus-rules.yaml fires when it is more than 0.
func alertOnMoreThan0(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../deploy/prometheus-rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	expr := regexp.MustCompile(`(?m)^        expr: (\w+) > 0$`).FindAllSubmatch(text, -1)
	if len(expr) != 1 {
		t.Fatalf("the rules have %d expressions METRIC > 0", len(expr))
	}
	return string(expr[0][1])
}

// orders is a pipe with a topic that refuses large events, and parks them.
type orders struct {
	*pipe
	name string // of the topic
}

func newOrders(t *testing.T, partitions int32, limit string) *orders {
	t.Helper()
	p := newPipe(t).withSchema(t)
	return &orders{pipe: p, name: p.topic(t, "order", partitions, map[string]string{"max.message.bytes": limit})}
}

// insert inserts an event of this key, type and about this size.
func (o *orders) insert(t testing.TB, key, kind string, bytes int) {
	t.Helper()
	o.exec(t, fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
		SELECT 'order', '%s', '%s', jsonb_build_object('a', coalesce(string_agg(md5(i::text), ''), '')) FROM generate_series(1, %d) i`, key, kind, bytes/32))
}

// arrived waits until exactly these events are in the topic.
func (o *orders) arrived(t testing.TB, want string) {
	t.Helper()
	eventually(t, "arrived: "+want, func() string {
		if got := strings.Join(o.kinds(t, o.name, ""), " "); got != want {
			return "got: " + got
		}
		return ""
	})
}

// states waits until walpost.dead_letters has exactly these events in these states.
func (o *orders) states(t testing.TB, want string) {
	t.Helper()
	eventually(t, "states: "+want, func() string {
		got := ask[string](t, o.conn, "SELECT coalesce(string_agg(type || '=' || state, ' ' ORDER BY position), '') FROM walpost.dead_letters")
		if got != want {
			return "got: " + got
		}
		return ""
	})
}

// An event that Kafka refuses and the later events of its key wait in walpost.dead_letters, across restarts. All other
// keys flow, walpost stays ready, and the alert of deploy/ fires. Given back, the key's events come in order, and then the key flows again.
func TestParkedKey(t *testing.T) {
	t.Parallel()
	p := newOrders(t, 1, "2000")
	topic := p.name
	insert := func(key, kind string, bytes int) { t.Helper(); p.insert(t, key, kind, bytes) }
	arrived := func(want string) { t.Helper(); p.arrived(t, want) }
	states := func(want string) { t.Helper(); p.states(t, want) }
	r := p.start(t)
	truth := newOracle(t, p.pipe)
	p.exec(t, "BEGIN")
	insert("a", "a1", 0)
	insert("a", "a2", 4000)
	insert("a", "a3", 0)
	insert("b", "b1", 0)
	p.exec(t, "COMMIT")
	states("a2=head a3=waiting")
	arrived("a1 b1")
	p.settle(t)
	metric := alertOnMoreThan0(t)
	eventually(t, metric+" is 2", func() string {
		if n, found := r.metrics(t)[metric]; n != 2 {
			return fmt.Sprint(n, found)
		}
		return ""
	})
	r.awaitReady(t, "leader")
	insert("a", "a4", 0)
	insert("b", "b2", 0)
	states("a2=head a3=waiting a4=waiting")
	arrived("a1 b1 b2")

	r.stop(t)
	insert("a", "a5", 0)
	insert("b", "b3", 0)
	r = p.start(t)
	states("a2=head a3=waiting a4=waiting a5=waiting")
	arrived("a1 b1 b2 b3")
	p.settle(t)

	// Given back in vain: it is refused again, and nothing overtakes it.
	p.exec(t, "UPDATE walpost.dead_letters SET state = 'retrying'")
	eventually(t, "refused again", func() string {
		return ask[string](t, p.conn, "SELECT CASE WHEN attempts = 1 THEN '' ELSE 'attempts '||attempts END FROM walpost.dead_letters WHERE type = 'a2'")
	})
	states("a2=head a3=waiting a4=waiting a5=waiting")
	arrived("a1 b1 b2 b3")

	p.alter(t, topic, "max.message.bytes", "1000000")
	p.exec(t, "UPDATE walpost.dead_letters SET state = 'retrying' WHERE type = 'a2'")
	states("a2=released a3=released a4=released a5=released")
	arrived("a1 b1 b2 b3 a2:retry a3:retry a4:retry a5:retry")
	eventually(t, "the key flows", func() string {
		if !strings.Contains(r.output(), "flows again") {
			return "not yet"
		}
		return ""
	})
	insert("a", "a6", 0)
	arrived("a1 b1 b2 b3 a2:retry a3:retry a4:retry a5:retry a6")
	r.stop(t)
	p.asReleased(t, topic, truth.rows(t), 4)
}

// asReleased checks what README.md says to consumers about the records of a topic with one partition: a released event is the record that Kafka
// would have had before, with one header more. An inbox by id takes every event. A consumer that drops what is not above the highest
// ce_sequence would lose events, and one that compares it within a key would not.
func (p *pipe) asReleased(t *testing.T, topic string, rows []row, released int) {
	t.Helper()
	inbox, byID := make(map[string]bool), make(map[string]row)
	for _, r := range rows {
		byID[r.get("id")] = r
	}
	highest, dropped := "", 0
	ofKey := make(map[string]string)
	for _, r := range flat(p.read(t, topic)) {
		got := recordOf(t, r)
		id, sequence := *got.headers["id"], *got.headers["ce_sequence"]
		want := p.recordFor(t, byID[id], nil)
		if replay := got.headers["walpost_replay"]; replay != nil {
			if *replay != "retry" {
				t.Errorf("walpost_replay is %q", *replay)
			}
			want.headers["walpost_replay"] = replay
			released--
		}
		diff(t, "event "+*got.headers["ce_type"], got, want)
		inbox[id] = true
		if sequence <= highest {
			dropped++
		}
		highest = max(highest, sequence)
		if sequence <= ofKey[*got.key] {
			t.Errorf("ce_sequence of key %s goes back", *got.key)
		}
		ofKey[*got.key] = sequence
	}
	if released != 0 {
		t.Errorf("%d events more were to be released", released)
	}
	if len(inbox) != len(rows) {
		t.Errorf("an inbox takes %d of %d events", len(inbox), len(rows))
	}
	if dropped == 0 {
		t.Error("no ce_sequence goes back, so the README warns of nothing")
	}
}

// A row of a backfill is parked like any other. If the first start is killed and begins again, its dead letters begin again with it.
func TestBackfilledRowIsParked(t *testing.T) {
	t.Parallel()
	p := newOrders(t, 1, "2000")
	p.unchecked(t)
	p.insert(t, "a", "a1", 0)
	p.insert(t, "a", "a2", 4000)
	p.insert(t, "a", "a3", 0)
	p.insert(t, "b", "b1", 0)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) VALUES ('absent', 'x', 'x1')") // the backfill waits for its topic
	r := p.launch(t)
	p.states(t, "a2=head a3=waiting")
	p.arrived(t, "a1 b1")
	r.kill()
	p.exec(t, "DELETE FROM walpost.outbox WHERE type = 'b1'") // the rows are numbered in another way now
	p.insert(t, "a", "a0", 0)
	p.exec(t, "UPDATE walpost.outbox SET created_at = '2020-01-01' WHERE type = 'a0'")
	r = p.launch(t)
	p.arrived(t, "a1 b1 a0 a1")
	eventually(t, "the log", func() string {
		if !strings.Contains(r.output(), "dead letters of the unfinished first start are dropped") {
			return r.output()
		}
		return ""
	})
	p.states(t, "a2=head a3=waiting") // only now: before, these may be the rows of the first attempt
	p.alter(t, p.name, "max.message.bytes", "1000000")
	p.exec(t, "UPDATE walpost.dead_letters SET state = 'retrying' WHERE type = 'a2'") // while the backfill goes on
	p.states(t, "a2=released a3=released")
	p.arrived(t, "a1 b1 a0 a1 a2:retry a3:retry")
	p.alter(t, p.name, "max.message.bytes", "2000")
	p.exec(t, "DELETE FROM walpost.outbox WHERE type IN ('x1', 'a2')")
	r.kill()
	r = p.start(t)
	p.insert(t, "c", "c1", 4000)
	p.insert(t, "c", "c2", 0)
	p.states(t, "c1=head c2=waiting")
	r.stop(t)
}

// A key that gets events all the time flows again when it was given back, and each of its events comes once, in order.
func TestHotKeyFlows(t *testing.T) {
	t.Parallel()
	p := newOrders(t, 3, "50000") // so that the others share batches
	r := p.start(t)
	p.insert(t, "hot", "1", 200_000)
	p.states(t, "1=head")
	p.alter(t, p.name, "max.message.bytes", "1000000")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	conn, err := pgx.Connect(t.Context(), p.conn.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer conn.Close(context.WithoutCancel(ctx))
		n := 1
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for ctx.Err() == nil {
			<-pace.C
			n++
			if _, err := conn.Exec(context.WithoutCancel(ctx), "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', k, $1::int FROM unnest('{hot,cold}'::text[]) k", n); err != nil {
				t.Error(err)
				break
			}
		}
		ended <- n
	}()
	defer cancel()
	eventually(t, "more is parked", func() string {
		return ask[string](t, p.conn, "SELECT CASE WHEN count(*) > 100 THEN '' ELSE count(*)::text END FROM walpost.dead_letters")
	})
	p.exec(t, "UPDATE walpost.dead_letters SET state = 'retrying' WHERE type = '1'")
	eventually(t, "the key flows", func() string {
		if !strings.Contains(r.output(), "flows again") {
			return "not yet"
		}
		return ""
	})
	cancel()
	n := <-ended
	p.settle(t)
	hot := p.kinds(t, p.name, "hot")
	for i, kind := range hot {
		if number, _, _ := strings.Cut(kind, ":"); number != fmt.Sprint(i+1) {
			t.Fatalf("event %d of the key is %s", i+1, kind)
		}
	}
	if len(hot) != n {
		t.Errorf("%d events of the key, want %d", len(hot), n)
	}
	if left := ask[int](t, p.conn, "SELECT count(*) FROM walpost.dead_letters WHERE state <> 'released'"); left != 0 {
		t.Errorf("%d events are parked", left)
	}
	r.stop(t)
}
