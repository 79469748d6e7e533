package sink

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/schema"
	"walpost/sink/internal/sinktest"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// logged returns the ids in a topic's log, in order, by partition. The log must have this many.
func logged(t testing.TB, brokers []string, topic string, count int) [][]string {
	t.Helper()
	var ids [][]string
	for _, records := range consume(t, brokers, topic, count) {
		var partition []string
		for _, m := range records {
			partition = append(partition, string(m.Headers[0].Value))
		}
		ids = append(ids, partition)
	}
	return ids
}

// rejection returns the only rejection in a ledger.
func (l *ledger) rejection(t testing.TB, tx uint64) *record.BadEvent {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var bad *record.BadEvent
	if !errors.As(l.rejected[tx], &bad) || len(l.rejected) != 1 {
		t.Fatalf("rejected: %v, want transaction %d alone", l.rejected, tx)
	}
	return bad
}

// onePartition makes events of one lane. spoil changes the event with number bad.
func onePartition(topic string, count, bad int, spoil func(*schema.Event)) []*schema.Event {
	var events []*schema.Event
	for i := range count {
		ev := event(topic, "k", i)
		ev.Values[schema.Partition] = []byte("0")
		if i == bad {
			spoil(ev)
		}
		events = append(events, ev)
	}
	return events
}

// An event that a broker refuses is rejected alone, with everything that one needs to know. The events before it are in the log, and no
// event behind it is sent. Other lanes flow.
func TestRefusedEvents(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	for _, test := range []struct {
		name   string
		topic  map[string]string
		spoil  func(*schema.Event)
		reason string
		says   []string
	}{
		{"too large", map[string]string{"max.message.bytes": "100000"}, func(ev *schema.Event) { ev.Values[schema.Payload] = sinktest.Noise(300_000) },
			"message_too_large", []string{"key k", "too large", "max.message.bytes"}},
		{"null key in a compacted topic", map[string]string{"cleanup.policy": "compact"}, func(ev *schema.Event) { ev.Values[schema.AggregateID] = nil },
			"invalid_record", []string{"cleanup.policy=compact", "give the event"}},
		{"timestamp too old", map[string]string{"message.timestamp.before.max.ms": "3600000"},
			func(ev *schema.Event) { ev.Timestamp = time.Now().Add(-2 * time.Hour).UnixMicro() },
			"invalid_timestamp", []string{"key k", "message.timestamp.before.max.ms"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			topic := kafkatest.Name(t)
			kafkatest.Topic(t, brokers, topic, 2, test.topic)
			acks := newLedger()
			cfg := config(t, brokers)
			p := open(t, cfg, acks)
			const count, bad = 100, 37
			for i, ev := range onePartition(topic, count, bad, test.spoil) {
				publish(t, p, ev, uint64(i))
			}
			for i := range 50 { // in the other lane
				ev := event(topic, "other", 1000+i)
				ev.Values[schema.Partition] = []byte("1")
				publish(t, p, ev, 5000)
			}
			p.Flush(false)
			acks.wait(t, bad+50, 1)
			e := acks.rejection(t, bad)
			message := e.Error()
			for _, part := range append(test.says, fmt.Sprintf("event %08d", bad), "type OrderPlaced", "topic "+topic, e.Position) {
				if !strings.Contains(message, part) {
					t.Errorf("the message lacks %q: %s", part, message)
				}
			}
			if string(e.Code) != test.reason || e.Position != (schema.Position{Timeline: 1, LSN: bad + 1}).String() || strings.Contains(message, "\n") {
				t.Errorf("reason %s, position %s: %s", e.Code, e.Position, message)
			}
			if n, _ := sample(t, cfg, "walpost_events_failed_total", topic, test.reason); n != 1 {
				t.Errorf("%v counted as failed", n)
			}
			// Later events of the lane wait, and those of another lane flow.
			for i := range 10 {
				publish(t, p, onePartition(topic, 1, -1, nil)[0], 6000)
				ev := event(topic, "other", 2000+i)
				ev.Values[schema.Partition] = []byte("1")
				publish(t, p, ev, 7000)
				p.Flush(false)
			}
			acks.wait(t, bad+60, 1)
			log := logged(t, brokers, topic, bad+60)
			if len(log[0]) != bad || log[0][0] != "00000000" || log[0][bad-1] != fmt.Sprintf("%08d", bad-1) || !slices.IsSorted(log[0]) {
				t.Errorf("the lane's log: %v", log[0])
			}
			if len(log[1]) != 60 || !slices.IsSorted(log[1]) {
				t.Errorf("the other lane's log: %v", log[1])
			}
		})
	}
}

// A topic's limit is lowered while a producer runs. Batches that are refused are divided, and later batches are smaller. Nothing is lost,
// nothing comes twice, and no event is blamed. When the limit is raised again, batches grow again.
func TestLimitIsLowered(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 2, nil)
	acks := newLedger()
	cfg := config(t, brokers)
	cfg.Codec = recordbatch.None
	p := open(t, cfg, acks)
	p.refreshEvery = 200 * time.Millisecond
	publish(t, p, event(topic, "k", 0), 0)
	p.Flush(false)
	acks.wait(t, 1, 0)
	if limit := p.topics[topic].limit.Load(); limit < 200_000 || limit > int64(cfg.MaxRequestSize) {
		t.Errorf("the limit is %d", limit)
	}
	setTopic(t, brokers, topic, "max.message.bytes", "20000")
	const events = 4000
	for i := 1; i < events; i++ { // in batches far beyond the new limit
		ev := event(topic, fmt.Sprint(i%20), i)
		ev.Values[schema.Payload] = bytes.Repeat([]byte("x"), 1000)
		publish(t, p, ev, uint64(i))
	}
	p.Flush(false)
	acks.wait(t, events, 0)
	for n, ids := range logged(t, brokers, topic, events) {
		if !slices.IsSorted(ids) || len(slices.Compact(ids)) != len(ids) {
			t.Errorf("partition %d is out of order or has duplicates", n)
		}
	}
	if limit := p.topics[topic].limit.Load(); limit > 20_000-1024 || limit < 16<<10 {
		t.Errorf("the limit is %d, want %d", limit, 20_000-1024)
	}
	setTopic(t, brokers, topic, "max.message.bytes", "1000000")
	until(t, "a larger limit", func() bool { return p.topics[topic].limit.Load() == cfg.batchLimit() })
}

// A topic takes an event that is larger than it allowed: so its limit was raised, and batches grow at once.
func TestLimitIsRaised(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, map[string]string{"max.message.bytes": "20000"})
	acks := newLedger()
	cfg := config(t, brokers)
	cfg.Codec = recordbatch.None
	p := open(t, cfg, acks)
	p.refreshEvery = time.Hour
	for i, size := range []int{1, 10_000, 15_000, 30_000} {
		if size == 30_000 {
			if limit := p.topics[topic].limit.Load(); limit != 20_000-1024 {
				t.Errorf("the limit is %d, want %d", limit, 20_000-1024)
			}
			setTopic(t, brokers, topic, "max.message.bytes", "1000000")
		}
		ev := event(topic, "k", i)
		ev.Values[schema.Payload] = bytes.Repeat([]byte("x"), size)
		publish(t, p, ev, uint64(i))
		p.Flush(false)
		acks.wait(t, i+1, 0)
	}
	until(t, "a larger limit", func() bool { return p.topics[topic].limit.Load() == cfg.batchLimit() })
}

// setTopic changes a topic's setting and waits until the broker applies it. A broker describes a setting before its partitions follow it. It
// publishes one change of the metadata after the other, so the partitions follow the first one once a second one is described.
func setTopic(t *testing.T, brokers []string, topic, name, value string) {
	t.Helper()
	admin, err := sarama.NewClusterAdmin(brokers, sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	set := func(name, value string) {
		if err := admin.IncrementalAlterConfig(sarama.TopicResource, topic,
			map[string]sarama.IncrementalAlterConfigsEntry{name: {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}}, false); err != nil {
			t.Fatal(err)
		}
		until(t, name+"="+value, func() bool {
			//lint:ignore SA1019 one entry of one topic is all that is asked for
			entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{name}})
			return err == nil && len(entries) == 1 && entries[0].Value == value
		})
	}
	set(name, value)
	set("file.delete.delay.ms", strconv.FormatInt(60_000+settings.Add(1), 10))
}

var settings atomic.Int64 // how often setTopic was called

// An event that is larger than max.request.size is sent alone, and arrives if the topic accepts it.
func TestLargeEventTravelsAlone(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, map[string]string{"max.message.bytes": "4000000"})
	acks := newLedger()
	cfg := config(t, brokers)
	cfg.Codec = recordbatch.None
	p := open(t, cfg, acks)
	for i, ev := range onePartition(topic, 21, 10, func(ev *schema.Event) { ev.Values[schema.Payload] = sinktest.Noise(3_000_000) }) {
		publish(t, p, ev, uint64(i))
	}
	p.Flush(false)
	acks.wait(t, 21, 0)
	records := consume(t, brokers, topic, 21)[0]
	if len(records[10].Value) != 3_000_000 || !bytes.Equal(records[10].Value, sinktest.Noise(3_000_000)) {
		t.Errorf("the large event has %d bytes", len(records[10].Value))
	}
}
