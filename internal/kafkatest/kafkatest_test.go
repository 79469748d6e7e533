package kafkatest

import (
	"errors"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/testenv/long"
)

// producer returns a producer with acks=all.
func producer(t *testing.T, brokers []string, c *sarama.Config) sarama.SyncProducer {
	t.Helper()
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Producer.Retry.Max, c.Producer.Retry.Backoff = 200, 100*time.Millisecond
	p, err := sarama.NewSyncProducer(brokers, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// first reads the first message of partition 0.
func first(t *testing.T, brokers []string, topic string) string {
	t.Helper()
	consumer, err := sarama.NewConsumer(brokers, config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = consumer.Close() })
	partition, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = partition.Close() })
	select {
	case message := <-partition.Messages():
		return string(message.Value)
	case <-time.After(patience):
		t.Fatalf("no message in topic %s", topic)
		return ""
	}
}

func TestSharedBrokerCarriesAMessage(t *testing.T) {
	brokers, topic := Brokers(t), Name(t)
	Topic(t, brokers, topic, 3, map[string]string{"max.message.bytes": "4000"})
	message := &sarama.ProducerMessage{Topic: topic, Partition: 0, Value: sarama.StringEncoder("hello")}
	c := config()
	c.Producer.Partitioner = sarama.NewManualPartitioner
	p := producer(t, brokers, c)
	if _, _, err := p.SendMessage(message); err != nil {
		t.Fatal(err)
	}
	if got := first(t, brokers, topic); got != "hello" {
		t.Errorf("read %q", got)
	}
	// The topic's own setting applies.
	message = &sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(make([]byte, 5000))}
	if _, _, err := p.SendMessage(message); !errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		t.Errorf("a message over max.message.bytes: %v", err)
	}
}

func TestTopicsAreNotCreatedByAccident(t *testing.T) {
	brokers, topic := Brokers(t), Name(t)
	c := config()
	c.Metadata.AllowAutoTopicCreation = true
	c.Producer.RequiredAcks, c.Producer.Return.Successes = sarama.WaitForAll, true
	c.Metadata.Retry.Max = 0
	p, err := sarama.NewSyncProducer(brokers, c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, _, err = p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("x")})
	if !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		t.Errorf("a message to an absent topic: %v", err)
	}
}

// A cluster of three nodes goes on if one crashes, and accepts it again.
func TestThreeNodesSurviveOne(t *testing.T) {
	long.Only(t)
	cluster := Start(t, Options{Nodes: 3})
	Topic(t, cluster.Brokers(), "survivor", 1, nil)
	leader := leaderOf(t, cluster.Brokers()[0], "survivor")
	if err := cluster.Kill(int(leader)); err != nil {
		t.Fatal(err)
	}
	p := producer(t, cluster.Brokers(), config())
	if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "survivor", Value: sarama.StringEncoder("still here")}); err != nil {
		t.Fatal(err)
	}
	if got := first(t, cluster.Brokers(), "survivor"); got != "still here" {
		t.Errorf("read %q", got)
	}
	if err := cluster.StartNode(t.Context(), int(leader)); err != nil {
		t.Fatal(err)
	}
	if now := leaderOf(t, cluster.Brokers()[leader-1], "survivor"); now == leader {
		t.Errorf("node %d still leads what it lost", leader)
	}
}

func leaderOf(t *testing.T, address, topic string) int32 {
	t.Helper()
	metadata, err := ask(address, []string{topic})
	if err != nil {
		t.Fatal(err)
	}
	partition := metadata.Topics[0].Partitions[0]
	if len(partition.Replicas) != 3 {
		t.Errorf("topic %s has replicas %v", topic, partition.Replicas)
	}
	return partition.Leader
}
