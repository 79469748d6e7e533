package sink

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walpost/internal/kafkatest"
	"walpost/internal/reason"
	"walpost/sink/recordbatch"
)

// A real broker closes the connection without an answer on a request above socket.request.max.bytes. Batches that are too large are
// divided. A single event that is too large is named and waits, and events in other partitions flow as before. Once the limit is raised,
// all events are in the log, once and in order.
func TestSocketRequestMaxBytes(t *testing.T) {
	const limit, partitions = 100_000, 4
	c := kafkatest.Start(t, kafkatest.Options{Properties: map[string]string{"socket.request.max.bytes": fmt.Sprint(limit)}})
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, c.Brokers(), topic, partitions, nil)
	log, acks := new(logLines), newLedger()
	cfg := config(t, c.Brokers())
	cfg.Logger, cfg.Codec = log.logger(), recordbatch.None
	p := open(t, cfg, acks)
	events, blocked := 0, 0
	one := func(partition, bytes int) {
		publish(t, p, inPartition(topic, partition, events, bytes), uint64(events))
		events++
	}
	neighbours := func(rounds int) time.Duration {
		begin := time.Now()
		for range rounds {
			for n := 1; n < partitions; n++ {
				one(n, 500)
			}
			p.Flush(false)
			acks.wait(t, events-blocked, 0)
		}
		return time.Since(begin)
	}
	one(0, 500)
	neighbours(100) // warm
	before := neighbours(400)
	// A batch of many events is divided, and all of them arrive.
	for range 200 {
		one(0, 1000)
	}
	p.Flush(false)
	acks.wait(t, events, 0)
	for n, ids := range logged(t, c.Brokers(), topic, events) {
		if !slices.IsSorted(ids) || len(slices.Compact(ids)) != len(ids) {
			t.Errorf("partition %d is out of order or has duplicates", n)
		}
	}
	// A single event that is too large, and the events that wait behind it.
	large := events
	one(0, limit+50_000)
	p.Flush(false)
	blocked = 1
	until(t, "the event's name", func() bool {
		neighbours(1)
		return log.says("waiting for partition 0", "reason="+string(reason.RequestCut), fmt.Sprintf("event %08d", large), "socket.request.max.bytes")()
	})
	one(0, 500)
	p.Flush(false)
	blocked++
	reconnects, _ := sample(t, cfg, "walpost_reconnects_total")
	after := neighbours(400)
	if n, _ := sample(t, cfg, "walpost_reconnects_total"); n != reconnects {
		t.Errorf("the shared connection ended %v times after the event was named", n-reconnects)
	}
	t.Logf("400 rounds of the other partitions took %v before, and %v while the event waits", before, after)
	if after > 2*before+time.Second {
		t.Errorf("400 rounds of the other partitions took %v before, and %v while the event waits", before, after)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, step := range []func() error{
		func() error { return c.Stop(ctx, 1) },
		func() error { return c.Set(1, "socket.request.max.bytes", "10000000") },
		func() error { return c.StartNode(ctx, 1) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	blocked = 0
	acks.wait(t, events, 0)
	neighbours(1)
	for n, ids := range logged(t, c.Brokers(), topic, events) {
		if !slices.IsSorted(ids) || len(slices.Compact(ids)) != len(ids) {
			t.Errorf("partition %d is out of order or has duplicates: %s", n, strings.Join(ids, " "))
		}
	}
}
