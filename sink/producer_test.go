package sink

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/kafkatest"
	"walpost/schema"
	"walpost/sink/internal/sinktest"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// A consumer gets an event's key, value, headers and time as documented.
func TestRecordsAsConsumersSeeThem(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, nil)
	acks := newLedger()
	p := open(t, config(t, brokers), acks)
	var want []*recordbatch.Record
	c := record.NewComposer(record.Config{Source: "/walpost/shop/walpost.outbox"}, func(string) {})
	for i := range 6 {
		ev := sinktest.Row()
		ev.Values[schema.AggregateType] = []byte(topic)
		ev.CommitTime = time.Now().Add(-time.Duration(i) * time.Hour).UnixMicro()
		switch i {
		case 1:
			ev.Values[schema.AggregateID] = nil
		case 2:
			ev.Values[schema.AggregateID] = []byte{}
		case 3:
			ev.Values[schema.Payload] = nil
		case 4:
			ev.Values[schema.Payload], ev.Content = []byte{0, 0xff}, schema.Bytes
		case 5:
			ev.Values[schema.Headers] = []byte(`{"traceparent": "00-1-2-01", "null": null, "n": 1.50, "o": {"a": [1, 2]}}`)
		}
		publish(t, p, ev, 1)
		rec, err := c.Compose(ev)
		if err != nil {
			t.Fatal(err)
		}
		copied := *rec
		copied.Headers = nil
		for _, h := range rec.Headers { // their values are the composer's
			copied.Headers = append(copied.Headers, recordbatch.Header{Name: slices.Clone(h.Name), Value: slices.Clone(h.Value)})
		}
		want = append(want, &copied)
	}
	p.Flush(false)
	acks.wait(t, len(want), 0)
	for i, m := range consume(t, brokers, topic, len(want))[0] {
		got := &recordbatch.Record{Timestamp: m.Timestamp.UnixMilli(), Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			got.Headers = append(got.Headers, recordbatch.Header{Name: recordbatch.EncodeName(string(h.Key)), Value: h.Value})
		}
		w := want[i]
		if got.Timestamp != w.Timestamp || string(got.Key) != string(w.Key) || (got.Key == nil) != (w.Key == nil) ||
			string(got.Value) != string(w.Value) || (got.Value == nil) != (w.Value == nil) ||
			strings.Join(sinktest.HeaderLines(got), "\n") != strings.Join(sinktest.HeaderLines(w), "\n") {
			t.Errorf("record %d:\n%d %q %q %q\nwant\n%d %q %q %q", i, got.Timestamp, got.Key, got.Value, sinktest.HeaderLines(got),
				w.Timestamp, w.Key, w.Value, sinktest.HeaderLines(w))
		}
	}
}

// producerState returns what a partition's leader knows about producers.
func producerState(t testing.TB, brokers []string, topic string, partition int32) []sarama.ProducerState {
	t.Helper()
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V3_0_0_0
	client, err := sarama.NewClient(brokers, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	leader, err := client.Leader(topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	res, err := leader.DescribeProducers(&sarama.DescribeProducersRequest{Topics: []sarama.DescribeProducersRequestTopic{{Name: topic, PartitionIndexes: []int32{partition}}}})
	if err != nil || len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		t.Fatalf("describe producers: %+v, %v", res, err)
	}
	return res.Topics[0].Partitions[0].ActiveProducers
}

// All topics and partitions share requests and one producer id, with sequences of its own in each partition. Another producer has another
// id.
func TestSeveralTopicsAndOneProducerID(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	var names []string
	for range 5 {
		names = append(names, kafkatest.Name(t))
		kafkatest.Topic(t, brokers, names[len(names)-1], 3, nil)
	}
	ids := map[int64]bool{}
	sent := map[string]map[int32]int{}
	for round := range 2 {
		acks := newLedger()
		p := open(t, config(t, brokers), acks)
		const events = 3000
		for i := range events {
			topic, key := names[i%len(names)], fmt.Sprint(i%17)
			publish(t, p, event(topic, key, round*events+i), uint64(i/3))
			if sent[topic] == nil {
				sent[topic] = map[int32]int{}
			}
			sent[topic][record.Murmur2.Partition([]byte(key), 3)]++
			if i%50 == 49 {
				p.Flush(false)
			}
		}
		acks.wait(t, events, 0)
		ids[p.ids.usual.Producer] = true
		if len(ids) != round+1 {
			t.Errorf("producer ids %v after %d producers", ids, round+1)
		}
		for _, topic := range names {
			for n := range int32(3) {
				mine := 0
				for _, s := range producerState(t, brokers, topic, n) {
					if !ids[s.ProducerID] || s.ProducerEpoch != 0 {
						t.Errorf("%s/%d: producer %d, epoch %d; known are %v", topic, n, s.ProducerID, s.ProducerEpoch, ids)
					}
					if s.ProducerID == p.ids.usual.Producer {
						mine++
						if want := sent[topic][n]/(round+1) - 1; s.LastSequence != int32(want) {
							t.Errorf("%s/%d: last sequence %d, want %d", topic, n, s.LastSequence, want)
						}
					}
				}
				if mine != 1 {
					t.Errorf("%s/%d: the producer is known %d times", topic, n, mine)
				}
			}
		}
	}
	for _, topic := range names {
		total := 0
		for _, n := range sent[topic] {
			total += n
		}
		last := map[string]string{}
		for _, records := range consume(t, brokers, topic, total) {
			for _, m := range records {
				if id := string(m.Headers[0].Value); id <= last[string(m.Key)] {
					t.Fatalf("%s: key %s: %s after %s", topic, m.Key, id, last[string(m.Key)])
				} else {
					last[string(m.Key)] = id
				}
			}
		}
	}
}

// A lane continues with the identity that it is opened with, and its sequences wrap around.
func TestSequencesWrapOnARealBroker(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, nil)
	acks := newLedger()
	p := open(t, config(t, brokers), acks)
	p.mu.Lock()
	p.ids.usual.Next = 1<<31 - 25
	p.mu.Unlock()
	const events = 100
	for i := range events {
		publish(t, p, event(topic, "k", i), 1)
		if i%10 == 9 {
			p.Flush(false)
			acks.wait(t, i+1, 0)
		}
	}
	if s := producerState(t, brokers, topic, 0); len(s) != 1 || s[0].LastSequence != events-25-1 {
		t.Errorf("%d producers, last sequence %d, want %d", len(s), s[0].LastSequence, events-25-1)
	}
	if ids := logged(t, brokers, topic, events)[0]; !slices.IsSorted(ids) || len(slices.Compact(ids)) != events {
		t.Errorf("log %v", ids)
	}
}

// With a linger, the lanes of a broker share a request, although they come one after the other.
func TestLingerSharesRequests(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 6, nil)
	acks := newLedger()
	cfg := config(t, brokers)
	cfg.Linger = 200 * time.Millisecond
	p := open(t, cfg, acks)
	requests := func() uint64 { return requestsOf(t, cfg) }
	acked := 0
	each := func() {
		for n := range 6 {
			ev := event(topic, "k", n)
			ev.Values[schema.Partition] = fmt.Append(nil, n)
			publish(t, p, ev, 1)
			p.Flush(false)
			runtime.Gosched() // the sender may go if it does not linger
		}
		acked += 6
		acks.wait(t, acked, 0)
	}
	each() // leaders are known from here on
	before := requests()
	const rounds = 5
	for range rounds {
		each()
	}
	if n := requests() - before; n > 2*rounds {
		t.Errorf("%d requests for %d times six lanes", n, rounds)
	}
}

// While the relay reports that more events are coming, a batch that is not full waits for them. A full batch does not wait, and neither do
// the last events.
func TestFlowWaitsForMore(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, nil)
	acks := newLedger()
	cfg := config(t, brokers)
	cfg.MaxRequestSize = 20_000
	p := open(t, cfg, acks)
	p.flow = time.Hour
	next := 0
	flush := func(events int, flowing bool) {
		for range events {
			publish(t, p, event(topic, "k", next), 1)
			next++
		}
		p.Flush(flowing)
	}
	flush(1, false) // the leader is known from here on
	acks.wait(t, 1, 0)
	before := requestsOf(t, cfg)
	for range 20 {
		flush(1, true)
		runtime.Gosched() // the sender may go if it does not wait
	}
	flush(1, false)
	acks.wait(t, 22, 0)
	if n := requestsOf(t, cfg) - before; n != 1 {
		t.Errorf("%d requests for 21 events that waited for each other", n)
	}
	flush(1, true) // queues the lane
	flush(200, true)
	until(t, "the full batches", func() bool { n, _ := acks.total(); return n > 22 })
	flush(1, false)
	acks.wait(t, next, 0)
}

// requestsOf returns how many produce requests were answered.
func requestsOf(t *testing.T, cfg Config) (n uint64) {
	t.Helper()
	families, err := cfg.Registerer.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "walpost_publish_duration_seconds" {
			n = f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	return n
}
