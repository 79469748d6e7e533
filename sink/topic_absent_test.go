package sink

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/internal/reason"
	"walpost/sink/record"
)

// topics returns the names of the topics that a broker knows.
func topics(t testing.TB, brokers []string) []string {
	t.Helper()
	client, err := sarama.NewClient(brokers, sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	names, err := client.Topics()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Events of a topic that does not exist wait, and status and log show the cure, while other events flow. When an operator has created the
// topic, they continue in order. Nothing creates it by accident.
func TestAbsentTopic(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	there, absent := kafkatest.Name(t), kafkatest.Name(t)
	kafkatest.Topic(t, brokers, there, 3, nil)
	var log logLines
	acks := newLedger()
	cfg := config(t, brokers)
	cfg.Logger = log.logger()
	p := open(t, cfg, acks)
	i := 0
	both := func(n int) {
		for range n {
			publish(t, p, event(there, fmt.Sprint(i%10), i), 1)
			publish(t, p, event(absent, fmt.Sprint(i%10), i), 2)
			if i++; i%10 == 0 {
				p.Flush(false)
			}
		}
		p.Flush(false)
	}
	both(500)
	acks.wait(t, 500, 0)
	until(t, "a warning", log.says("waiting for topic "+absent, "kafka-topics.sh --create"))
	until(t, "the metric", func() bool {
		blocked, _ := sample(t, cfg, "walpost_topic_blocked_seconds", absent)
		return blocked > 0
	})
	if n, _ := sample(t, cfg, "walpost_retries_total"); n == 0 {
		t.Error("refreshes of an absent topic do not count as retries")
	}
	if w := p.metrics.waits(); !slices.ContainsFunc(w, func(w Wait) bool {
		return w.Topic == absent && w.Code == reason.TopicMissing && w.Err != nil && strings.Contains(w.Cure, "kafka-topics.sh --create --topic "+absent)
	}) {
		t.Errorf("waits: %+v", w)
	}
	if acks.acked[1] != 500 || slices.Contains(topics(t, brokers), absent) {
		t.Fatalf("acked %v; the topic was created: %t", acks.acked, slices.Contains(topics(t, brokers), absent))
	}
	both(100)
	acks.wait(t, 600, 0)
	kafkatest.Topic(t, brokers, absent, 3, nil)
	both(100)
	acks.wait(t, 1400, 0)
	until(t, "word of the topic", log.says("events flow again", "topic="+absent))
	if log.count("events flow again") != 1 {
		t.Error("the log says more than once, or of the other topic, that events flow again")
	}
	for _, name := range []string{there, absent} {
		last := map[string]string{}
		for n, records := range consume(t, brokers, name, 700) {
			for _, m := range records {
				key, id := string(m.Key), string(m.Headers[0].Value)
				if id <= last[key] || record.Murmur2.Partition(m.Key, 3) != int32(n) {
					t.Fatalf("topic %s, partition %d: key %s, %s after %s", name, n, key, id, last[key])
				}
				last[key] = id
			}
		}
	}
	until(t, "the metric to fall", func() bool {
		blocked, _ := sample(t, cfg, "walpost_topic_blocked_seconds", absent)
		return blocked == 0
	})
}

// A topic is deleted and re-created while a producer runs. The producer continues after the events that were acked; those that were not
// acked are in the new topic.
func TestTopicIsMadeAnew(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, nil)
	acks := newLedger()
	p := open(t, config(t, brokers), acks)
	for i := range 10 {
		publish(t, p, event(topic, "k", i), 1)
	}
	p.Flush(false)
	acks.wait(t, 10, 0)
	admin, err := sarama.NewClusterAdmin(brokers, sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
	until(t, "the topic to go", func() bool { return !slices.Contains(topics(t, brokers), topic) })
	for i := 10; i < 30; i++ {
		publish(t, p, event(topic, "k", i), 1)
		p.Flush(false)
	}
	detail := &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}
	until(t, "the topic again", func() bool { return admin.CreateTopic(topic, detail, false) == nil })
	acks.wait(t, 30, 0)
	ids := logged(t, brokers, topic, 20)[0]
	if ids[0] != "00000010" || !slices.IsSorted(ids) || len(slices.Compact(ids)) != 20 {
		t.Errorf("the new topic has %v", ids)
	}
}
