package sink

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/schema"
	"walpost/sink/record"
)

// admin is a client for what operators do.
func admin(t testing.TB, brokers []string) sarama.ClusterAdmin {
	t.Helper()
	a, err := sarama.NewClusterAdmin(brokers, sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// Partitions are added while events flow. They are used without a restart, and each key's events in its old partition come before those in
// its new one.
func TestPartitionsAreAdded(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 3, map[string]string{"message.timestamp.type": "LogAppendTime"})
	acks := newLedger()
	p := open(t, config(t, brokers), acks)
	p.refreshEvery = 200 * time.Millisecond
	const keys = 60
	events := 0
	round := func() {
		for range keys {
			publish(t, p, event(topic, fmt.Sprint("k-", events%keys), events), uint64(events))
			if events++; events%7 == 0 {
				p.Flush(false)
			}
		}
		p.Flush(false)
	}
	for range 20 {
		round()
	}
	if err := admin(t, brokers).CreatePartitions(topic, 7, nil, false); err != nil {
		t.Fatal(err)
	}
	until(t, "the new partitions", func() bool {
		round()
		lanes := p.topics[topic].partitions.Load()
		return lanes != nil && len(*lanes) == 7
	})
	for range 20 {
		round()
	}
	acks.wait(t, events, 0)
	before, after := map[string]time.Time{}, map[string]time.Time{} // when a key's last came by the old number, its first by the new
	highest := map[string]string{}
	type arrival struct{ id, key string }
	var added []arrival
	for n, records := range consume(t, brokers, topic, events) {
		for _, m := range records {
			key, id := string(m.Key), string(m.Headers[0].Value)
			switch int32(n) {
			case record.Murmur2.Partition(m.Key, 3):
				before[key] = m.Timestamp
				if record.Murmur2.Partition(m.Key, 7) != int32(n) {
					highest[key] = max(highest[key], id)
				}
			case record.Murmur2.Partition(m.Key, 7):
				added = append(added, arrival{id, key})
				if _, there := after[key]; !there {
					after[key] = m.Timestamp
				}
			default:
				t.Fatalf("key %s in partition %d", key, n)
			}
		}
	}
	if len(after) < keys/3 {
		t.Errorf("%d keys moved", len(after))
	}
	for key := range after {
		if before[key].After(after[key]) {
			t.Errorf("key %s: appended to its new partition at %v, to its old one still at %v", key, after[key], before[key])
		}
	}
	for _, r := range added {
		if r.id <= highest[r.key] {
			t.Errorf("key %s: event %s is in its new partition, event %s in its old one", r.key, r.id, highest[r.key])
		}
	}
	last := map[uint64]uint64{}
	for _, tx := range acks.order {
		if tx < last[tx%keys] {
			t.Fatalf("event %d was acked behind event %d of its key", tx, last[tx%keys])
		}
		last[tx%keys] = tx
	}
}

// A row may name a partition that was added a moment ago.
func TestRowNamesAnAddedPartition(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 2, nil)
	acks := newLedger()
	p := open(t, config(t, brokers), acks)
	publish(t, p, event(topic, "k", 0), 0)
	p.Flush(false)
	acks.wait(t, 1, 0)
	if err := admin(t, brokers).CreatePartitions(topic, 5, nil, false); err != nil {
		t.Fatal(err)
	}
	for i, partition := range []string{"4", "1", "2"} {
		ev := event(topic, "k", i+1)
		ev.Values[schema.Partition] = []byte(partition)
		publish(t, p, ev, uint64(i+1))
	}
	p.Flush(false)
	acks.wait(t, 4, 0)
	if ids := logged(t, brokers, topic, 4); !slices.Equal(ids[4], []string{"00000001"}) || !slices.Equal(ids[2], []string{"00000003"}) {
		t.Errorf("the log has %v", ids)
	}
}

// A topic is deleted and re-created with fewer partitions. Events that waited for the missing partitions go to the partitions of their
// keys, in order.
func TestTopicIsMadeAnewWithFewerPartitions(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 6, nil)
	acks := newLedger()
	p := open(t, config(t, brokers), acks)
	a := admin(t, brokers)
	const keys = 40
	events := 0
	round := func() {
		for range keys {
			publish(t, p, event(topic, fmt.Sprint("k-", events%keys), events), uint64(events))
			events++
		}
		p.Flush(false)
	}
	round()
	acks.wait(t, events, 0)
	if err := a.DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
	until(t, "the topic to go", func() bool { return !slices.Contains(topics(t, brokers), topic) })
	round()
	detail := &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1}
	until(t, "the topic again", func() bool { return a.CreateTopic(topic, detail, false) == nil })
	round()
	acks.wait(t, events, 0)
	last := map[string]string{}
	for n, records := range consume(t, brokers, topic, events-keys) {
		for _, m := range records {
			key, id := string(m.Key), string(m.Headers[0].Value)
			// Events that waited for partitions that exist again stay in them.
			if old := record.Murmur2.Partition(m.Key, 6); int32(n) != record.Murmur2.Partition(m.Key, 2) && int32(n) != old {
				t.Errorf("key %s in partition %d", key, n)
			} else if int32(n) == old && int32(n) != record.Murmur2.Partition(m.Key, 2) {
				continue
			}
			if id <= last[key] {
				t.Errorf("key %s: event %s after %s", key, id, last[key])
			}
			last[key] = id
		}
	}
}

// A broker refuses a record whose timestamp is more than an hour ahead of its clock. A row's timestamp that lies in the future becomes now.
func TestTimestampAhead(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, map[string]string{"message.timestamp.after.max.ms": "60000"})
	acks := newLedger()
	p := open(t, config(t, brokers), acks)
	ev := event(topic, "k", 0)
	ev.Timestamp = time.Now().Add(48 * time.Hour).UnixMicro()
	publish(t, p, ev, 0)
	ev = event(topic, "k", 1)
	ev.CommitTime = time.Now().Add(48 * time.Hour).UnixMicro() // the database's clock
	publish(t, p, ev, 1)
	p.Flush(false)
	acks.wait(t, 2, 0)
	for _, m := range consume(t, brokers, topic, 2)[0] {
		if m.Timestamp.After(time.Now()) {
			t.Errorf("stamped %v", m.Timestamp)
		}
	}
}

// Another producer has used the lane's sequences, so the broker expects others. The lane takes a new producer id and loses nothing.
func TestBrokerExpectsOtherSequences(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, nil)
	var log logLines
	acks, others := newLedger(), newLedger()
	cfg := config(t, brokers)
	cfg.Logger = log.logger()
	p, other := open(t, cfg, acks), open(t, config(t, brokers), others)
	other.ids.usual = p.ids.usual
	publish(t, p, event(topic, "k", 0), 0)
	p.Flush(false)
	acks.wait(t, 1, 0)
	other.ids.usual.Next = 1
	for i := range 7 { // a broker remembers five batches
		publish(t, other, event(topic, "k", 1+i), 1)
		other.Flush(false)
		others.wait(t, 1+i, 0)
	}
	for i := range 20 {
		publish(t, p, event(topic, "k", 10+i), 1)
		p.Flush(false)
	}
	acks.wait(t, 21, 0)
	if !log.says("taking a new producer id")() {
		t.Error("no new producer id")
	}
	if ids := logged(t, brokers, topic, 28)[0]; !slices.IsSorted(ids) || len(slices.Compact(ids)) != 28 {
		t.Errorf("the log has %v", ids)
	}
}

// All brokers are gone for some seconds. Events wait, and continue in order within two seconds, none twice. A producer that is opened
// meanwhile waits for its id, however often a starting broker refuses to give one.
func TestAllBrokersGone(t *testing.T) {
	t.Parallel()
	c := kafkatest.Start(t, kafkatest.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const topic, partitions = "orders", 3
	kafkatest.Topic(t, c.Brokers(), topic, partitions, nil)
	acks := newLedger()
	cfg := config(t, c.Brokers())
	p := open(t, cfg, acks)
	s := startStream(t, p, acks, topic)
	s.flows(t, 3)
	if err := c.Kill(1); err != nil {
		t.Fatal(err)
	}
	until(t, "longer pauses", func() bool {
		blocked, _ := sample(t, cfg, "walpost_topic_blocked_seconds", topic)
		return blocked > 4
	})
	k, err := NewKafka(config(t, c.Brokers()))
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		late, err := k.Open(ctx, newLedger())
		if err == nil {
			err = late.Close()
		}
		opened <- err
	}()
	started := make(chan error, 1)
	go func() { started <- c.StartNode(ctx, 1) }()
	awaitLeaders(t, c.Brokers()[0], topic, partitions, -1)
	s.back(t)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Errorf("opened while the broker was away: %v", err)
	}
	close(s.stop)
	events := <-s.ended
	acks.wait(t, events, 0)
	checkStream(t, c.Brokers(), topic, events)
}
