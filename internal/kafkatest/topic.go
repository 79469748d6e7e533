package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// Topic creates a topic, and waits until every broker knows the leaders of its partitions and the leaders themselves know that they lead.
// brokers are addresses of a plain listener. At the end of the test the topic is deleted, if a broker still runs.
//
// All tests of all packages share one broker, so the names of topics there must be unique: see [Name].
func Topic(t testing.TB, brokers []string, name string, partitions int32, config map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := CreateTopic(ctx, brokers, name, partitions, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { deleteTopic(brokers, name) })
}

// Led waits, as [Topic] does, for the leaders of a topic that was created elsewhere.
func Led(t testing.TB, brokers []string, name string, partitions int32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, address := range brokers {
		if err := awaitTopic(ctx, address, name, partitions); err != nil {
			t.Fatal(err)
		}
	}
}

// CreateTopic is [Topic] without a test, and without the deletion.
func CreateTopic(ctx context.Context, brokers []string, name string, partitions int32, settings map[string]string) error {
	admin, err := sarama.NewClusterAdmin(brokers, config())
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	defer admin.Close()
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: -1} // -1: the brokers' default
	detail.ConfigEntries = make(map[string]*string, len(settings))
	for key, value := range settings {
		detail.ConfigEntries[key] = &value
	}
	if err := admin.CreateTopic(name, detail, false); err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	all, _, err := admin.DescribeCluster()
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	for _, broker := range all {
		if err := awaitTopic(ctx, broker.Addr(), name, partitions); err != nil {
			return fmt.Errorf("create topic %s: wait for its leaders at %s: %w", name, broker.Addr(), err)
		}
	}
	return nil
}

// awaitTopic waits until a broker knows all leaders of a topic.
func awaitTopic(ctx context.Context, address, topic string, partitions int32) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := led(address, topic, partitions)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// led returns an error unless a broker knows all leaders of a topic, and really leads the partitions that its metadata says it leads. The
// metadata may be early by a moment, and the broker refuses batches until then.
func led(address, topic string, partitions int32) error {
	broker, err := dial(address)
	if err != nil {
		return err
	}
	defer broker.Close()
	metadata, err := broker.GetMetadata(sarama.NewMetadataRequest(sarama.MaxVersion, []string{topic}))
	if err != nil {
		return err
	}
	self := int32(-1)
	for _, b := range metadata.Brokers {
		if b.Addr() == address {
			self = b.ID()
		}
	}
	for _, t := range metadata.Topics {
		if t.Err != sarama.ErrNoError {
			return t.Err
		}
		leaders := int32(0)
		for _, p := range t.Partitions {
			if p.Err == sarama.ErrNoError && p.Leader >= 0 {
				leaders++
			}
			if p.Leader == self {
				if err := leads(broker, topic, p.ID); err != nil {
					return err
				}
			}
		}
		if leaders < partitions {
			return fmt.Errorf("%d of %d partitions have a leader", leaders, partitions)
		}
	}
	return nil
}

// leads returns an error if a broker does not lead a partition. It asks for the end of the log, which only a leader answers.
func leads(broker *sarama.Broker, topic string, partition int32) error {
	request := &sarama.OffsetRequest{Version: 1}
	request.AddBlock(topic, partition, sarama.OffsetNewest, 1)
	response, err := broker.GetAvailableOffsets(request)
	if err != nil {
		return err
	}
	if block := response.GetBlock(topic, partition); block == nil || block.Err != sarama.ErrNoError {
		return fmt.Errorf("partition %d is not led yet: %+v", partition, block)
	}
	return nil
}

// deleteTopic deletes a topic, so that the broker does not fill up. It ignores errors: the broker may belong to the test and be dead.
func deleteTopic(brokers []string, name string) {
	c := config()
	c.Metadata.Retry.Max, c.Admin.Retry.Max = 0, 0
	admin, err := sarama.NewClusterAdmin(brokers, c)
	if err != nil {
		return
	}
	defer admin.Close()
	_ = admin.DeleteTopic(name)
}
