package e2e

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/internal/kafkatest"
	"walpost/internal/testenv/long"
)

// payload is 256 digits that hardly compress. Postgres would need as long to make them as to insert the row.
func payload(seed int) string {
	b := make([]byte, 128)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}).Read(b)
	return hex.EncodeToString(b)
}

// A million events of a topic that does not exist are parked, and published when it exists, each in order and once, fast enough. All the time
// another topic gets 500 events a second, which arrive within a quarter of a second, and memory stays within its bound.
func TestFiguresOfABlockedTopic(t *testing.T) {
	long.Alone(t)
	needPeak(t)
	const events, keys, rate, leastRate = 1_000_000, 1000, 500, 10_000
	const batch, insertRate = 500, 12_000
	const p99 = 250 * time.Millisecond
	p := newPipe(t).withSchema(t)
	p.plain = true // the race detector multiplies memory and time
	p.env["WALPOST_OUTBOX_MAX_PARKED_BYTES"] = "4GiB"
	others, blocked := p.topic(t, "others", 3, map[string]string{"message.timestamp.type": "LogAppendTime"}), p.prefix+".blocked"
	r := p.start(t)
	inserting := p.connect(t)
	stop := make(chan struct{})
	var insert sync.WaitGroup
	insert.Go(func() {
		for tick := time.NewTicker(time.Second / rate); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := inserting.Exec(t.Context(), "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) VALUES ('others', md5(random()::text), 'x', '1')"); err != nil {
					t.Errorf("insert an event of another topic: %v", err)
					return
				}
			}
		}
	})
	begin := time.Now()
	for i := 0; i < events; i += batch { // faster, others would wait behind them in the WAL
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / insertRate))) // the pace of the events
		p.exec(t, fmt.Sprintf(`INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload)
			SELECT 'blocked', 'k'||i %% %d, i::text, '"%s"' FROM generate_series(%d, %d) i`, keys, payload(i), i, i+batch-1))
	}
	p.settle(t)
	parked := time.Since(begin)
	if n := r.metrics(t)[fmt.Sprintf("walpost_parked_topic_events{topic=%q}", blocked)]; n != events {
		t.Errorf("walpost_parked_topic_events is %v", n)
	}
	if n := ask[int](t, p.conn, "SELECT count(*)::int FROM walpost.dead_letters WHERE state = 'waiting' AND reason = 'topic_blocked'"); n != events {
		t.Fatalf("%d events are parked", n)
	}
	r.checkPeak(t, "parks a topic")
	begin = time.Now()
	kafkatest.Topic(t, p.brokers, blocked, 6, nil)
	client := p.client(t)
	r.awaitAll(t, p, client, blocked, events)
	drained := time.Since(begin)
	r.awaitMetric(t, "walpost_parked_topics", 0)
	flows := time.Since(begin)
	close(stop)
	insert.Wait()
	p.settle(t)
	r.checkPeak(t, "publishes what is parked")
	r.stop(t)

	var took []time.Duration
	p.each(t, others, func(record *kgo.Record) {
		for _, h := range record.Headers {
			if h.Key == "ce_time" {
				committed, err := time.Parse(time.RFC3339, string(h.Value))
				if err != nil {
					t.Fatal(err)
				}
				took = append(took, record.Timestamp.Sub(committed))
			}
		}
	})
	slices.Sort(took)
	slowest, late := took[len(took)-1], took[len(took)*99/100]
	t.Logf("%d events parked in %.1f s, published in %.1f s, the topic flows after %.1f s; %d events of another topic: median %v, p99 %v, slowest %v",
		events, parked.Seconds(), drained.Seconds(), flows.Seconds(), len(took), took[len(took)/2], late, slowest)
	for what, d := range map[string]time.Duration{"parked": parked, "published": drained} {
		if n := events / d.Seconds(); n < leastRate {
			t.Errorf("%s %.0f events a second, want at least %d", what, n, leastRate)
		}
	}
	if late > p99 {
		t.Errorf("events of another topic take %v (p99), want at most %v", late, p99)
	}
	checkNumbered(t, p, blocked, events)
}
