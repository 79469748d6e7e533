package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topic is the topic of aggregatetype order, by walpost's default template.
const (
	topic      = "outbox.event.order"
	partitions = 3
)

// broker is a Kafka broker inside this process, franz-go's kfake.
type broker struct{ cluster *kfake.Cluster }

// startBroker starts the broker on a free loopback port and creates the topic,
// because walpost creates none.
func startBroker() (*broker, error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic))
	if err != nil {
		return nil, fmt.Errorf("start the embedded broker: %w", err)
	}
	return &broker{cluster}, nil
}

func (b *broker) addresses() []string { return b.cluster.ListenAddrs() }

// drained reports whether a consumer group has committed all offsets of the
// topic.
func (b *broker) drained(group string) bool {
	info := b.cluster.GroupInfo(group)
	for _, p := range b.cluster.PartitionInfos(topic) {
		if p.HighWatermark == 0 {
			continue // it never had a record, so there is no offset to commit
		}
		if info == nil || info.Commits[topic][p.Partition].Offset < p.HighWatermark {
			return false
		}
	}
	return true
}

// limit sets the topic's max.message.bytes, as an operator does.
func (b *broker) limit(ctx context.Context, bytes int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addresses()...))
	if err != nil {
		return err
	}
	defer client.Close()
	value := strconv.Itoa(bytes)
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "max.message.bytes", &value
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	resource.Configs = append(resource.Configs, config)
	request := kmsg.NewIncrementalAlterConfigsRequest()
	request.Resources = append(request.Resources, resource)
	response, err := request.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(response.Resources[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("set max.message.bytes of topic %s: %w", topic, err)
	}
	return nil
}

func (b *broker) close() { b.cluster.Close() }
