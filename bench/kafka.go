package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/internal/testenv/poll"
)

// client is the bench's own Kafka client.
type client struct{ *kgo.Client }

func (r *rig) newClient(opts ...kgo.Opt) (client, error) {
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(r.brokers...))...)
	return client{c}, err
}

// await waits until a topic has n records. More than n are an error.
func (c client) await(ctx context.Context, topic string, partitions int, n int64, ended <-chan struct{}) error {
	return poll.Until(ctx, func() (bool, error) {
		have, err := c.size(ctx, topic, partitions)
		if err != nil || have > n {
			return false, errors.Join(err, fmt.Errorf("wait for %d records in topic %s: it has %d", n, topic, have))
		}
		select {
		case <-ended:
			return false, fmt.Errorf("wait for %d records in topic %s: walpost ended after %d", n, topic, have)
		default:
			return have == n, nil
		}
	})
}

// size returns how many records a topic has.
func (c client) size(ctx context.Context, topic string, partitions int) (n int64, err error) {
	req := kmsg.NewListOffsetsRequest()
	req.ReplicaID = -1
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	for i := range partitions {
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp = int32(i), -1 // the end
		asked.Partitions = append(asked.Partitions, one)
	}
	req.Topics = append(req.Topics, asked)
	for _, shard := range c.RequestSharded(ctx, &req) {
		if shard.Err != nil {
			return 0, shard.Err
		}
		for _, answer := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, one := range answer.Partitions {
				err = errors.Join(err, kerr.ErrorForCode(one.ErrorCode))
				n += one.Offset
			}
		}
	}
	return n, err
}

// checkTopic reads a topic back. It must have as many records as there are
// rows, and positions must grow in every partition.
func (r *rig) checkTopic(ctx context.Context, topic string, rows int) error {
	c, err := r.newClient(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer c.Close()
	have, err := c.size(ctx, topic, r.partitions)
	if err != nil || have != int64(rows) {
		return errors.Join(err, fmt.Errorf("check topic %s after the stop: it has %d records for %d rows", topic, have, rows))
	}
	last := make(map[int32]string)
	for read := 0; read < rows; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read topic %s back: %w", topic, err)
		}
		for records := fetches.RecordIter(); !records.Done(); read++ {
			record := records.Next()
			position := header(record, "ce_sequence")
			if position == "" || position <= last[record.Partition] {
				return fmt.Errorf("check topic %s, partition %d, offset %d: ce_sequence is %q after %q", topic, record.Partition, record.Offset, position, last[record.Partition])
			}
			last[record.Partition] = position
		}
	}
	return nil
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
