package kfaketest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/chaos/kafkaproxy"
	"walpost/internal/kafkatest"
	"walpost/sink/record"
)

// journey is what happens to one batch of a producer, with other batches before and after it. It is written in the terms of the proxy, so
// that it is the same for any broker.
type journey struct {
	name    string
	meets   []meets
	late    bool // the first request is held, its connection cut, and it arrives behind its own resend
	rejects int16
	log     string // what is in the log then; "": each event once
}

// meets is what happens to a request: a code replaces the broker's answer, before or after the append. Without a code, the connection ends
// after the append.
type meets struct {
	code     int16
	appended bool
}

// Logs, with a letter for each event: two before the batch of four, and two after it.
const (
	once  = "a b c d e f g h"
	twice = "a b c d e f c d e f g h"
	short = "a b" // what stands before a record that is refused
)

// journeys are one for every code, and those in which one answer affects the meaning of the next.
func journeys() []journey {
	list := []journey{
		{name: "the connection dies behind the append", meets: []meets{{appended: true}, {appended: true}}},
		{name: "a request arrives late", late: true},
		{name: "moved, unclear, moved", meets: []meets{{6, false}, {7, true}, {6, true}, {5, false}}},
		// The parts of a batch that may be in the log must not use its sequences: they come under a new producer id.
		{name: "unclear, then refused", meets: []meets{{7, true}, {10, false}}, log: twice},
		// It is unknown whether the batch was appended: twice is better than not at all.
		{name: "unclear, then the state is lost", meets: []meets{{20, true}, {45, false}}, log: twice},
		{name: "not appended, then the state is lost", meets: []meets{{19, false}, {45, false}}},
		{name: "not appended, then refused", meets: []meets{{19, false}, {10, false}}},
		{name: "the state is lost twice", meets: []meets{{45, false}, {59, false}}},
	}
	for _, c := range kafkaproxy.Retriable {
		list = append(list, journey{name: c.Name, meets: []meets{{c.Number, false}, {c.Number, false}}})
		if c.Ambiguous {
			list = append(list, journey{name: c.Name + " behind the append", meets: []meets{{c.Number, true}, {c.Number, true}}})
		}
	}
	for _, code := range codesLost {
		list = append(list, journey{name: fmt.Sprint("state lost ", code), meets: []meets{{code, false}}})
	}
	for _, code := range codesRefused {
		list = append(list, journey{name: fmt.Sprint("refused once ", code), meets: []meets{{code, false}}})
		// The batch, its first half, and the first record alone.
		list = append(list, journey{name: fmt.Sprint("refused ", code), meets: []meets{{code, false}, {code, false}, {code, false}}, rejects: code, log: short})
	}
	return list
}

// The same journeys with the embedded broker and with a real one end in the same logs.
func TestJourneys(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(nodes))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		travel(t, cluster.ListenAddrs())
	})
	t.Run("real", func(t *testing.T) { travel(t, kafkatest.Brokers(t)) })
}

// travel runs every journey with the same brokers, each with a topic and a proxy of its own.
func travel(t *testing.T, brokers []string) {
	for _, j := range journeys() {
		t.Run(j.name, func(t *testing.T) {
			t.Parallel()
			j.travel(t, brokers)
		})
	}
}

func (j journey) travel(t *testing.T, brokers []string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, nil)
	proxy, err := kafkaproxy.Launch(ctx, brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := proxy.Close(); err != nil {
			t.Errorf("the proxy's own error: %v", err)
		}
	}()
	acks := &ledger{rejected: map[int]error{}, changed: make(chan struct{}, 1)}
	p := open(t, proxy.Addresses(), topic, acks)
	defer p.Close()
	published := 0
	publish := func(n int) {
		for range n {
			if _, err := p.Publish(event(published*partitions), uint64(published)); err != nil { // all in partition 0
				t.Fatal(err)
			}
			published++
		}
		p.Flush(false)
	}
	publish(2)
	acks.wait(t, 2, 0)

	faults := j.arm(t, proxy)
	publish(4)
	for i, f := range faults {
		if err := f.Wait(ctx); err != nil {
			t.Fatalf("fault %d: %v", i+1, err)
		}
	}
	if j.late {
		if err := proxy.Cut(); err != nil {
			t.Fatal(err)
		}
	}
	if j.rejects != 0 {
		acks.wait(t, 2, 1)
	} else {
		acks.wait(t, 6, 0)
		if err := proxy.Release(ctx); err != nil { // what is held is a dead connection's
			t.Fatal(err)
		}
		publish(2)
		acks.wait(t, 8, 0)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	j.check(t, acks, logOf(ctx, t, brokers, topic))
}

// arm sets the journey's faults for the next requests, one after the other.
func (j journey) arm(t *testing.T, proxy *kafkaproxy.Cluster) (list []*kafkaproxy.Fault) {
	add := func(f *kafkaproxy.Fault, err error) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	if j.late {
		add(proxy.Hold(1))
	}
	for _, m := range j.meets {
		switch {
		case !m.appended:
			add(proxy.Answer(m.code, 1))
		case m.code == 0:
			add(proxy.Swallow(1))
		default:
			add(proxy.Mask(m.code, 1))
		}
	}
	return list
}

// check compares the result with the journey's expected end.
func (j journey) check(t *testing.T, acks *ledger, log string) {
	want := j.log
	if want == "" {
		want = once
	}
	if log != want {
		t.Errorf("the log has %q, want %q", log, want)
	}
	acks.mu.Lock()
	defer acks.mu.Unlock()
	acked := 8
	if j.rejects != 0 {
		acked = 2
	}
	for i, n := range acks.acked {
		if n != i {
			t.Errorf("acked in the order %v", acks.acked)
			break
		}
	}
	if len(acks.acked) != acked {
		t.Errorf("%d events are acked, want %d", len(acks.acked), acked)
	}
	for n, err := range acks.rejected {
		var bad *record.BadEvent
		if j.rejects == 0 || n != 2 || !errors.As(err, &bad) || !errors.Is(err, sarama.KError(j.rejects)) {
			t.Errorf("event %d is rejected: %v", n, err)
		}
	}
}

// logOf reads partition 0 from the broker itself, up to its end: a letter for each event.
func logOf(ctx context.Context, t *testing.T, brokers []string, topic string) string {
	t.Helper()
	offsets := map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(offsets))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var log []string
	for {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		end := int64(-1)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			end = p.HighWatermark
			for _, r := range p.Records {
				var n int
				if _, err := fmt.Sscan(string(r.Key), &n); err != nil {
					t.Fatalf("a record's key: %v", err)
				}
				log = append(log, string(rune('a'+n/partitions)))
			}
		})
		if int64(len(log)) == end {
			return strings.Join(log, " ")
		}
	}
}
