package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/chaos/verdict"
)

// readTopic reads all that a topic holds, each partition in the order of its log, by a client that knows nothing of walpost. How much
// there is was asked before, so what is missing is missing and does not come later.
func (r *round) readTopic(ctx context.Context, topic string) ([]verdict.Record, error) {
	ends, err := r.ends(ctx, topic)
	if err != nil {
		return nil, err
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(r.kafka.Brokers()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	left := int64(0)
	for _, end := range ends {
		left += end
	}
	records := make([]verdict.Record, 0, left)
	generation, first := r.generation(topic), partitions[strings.TrimPrefix(topic, r.name+".")]
	for left > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read topic %s, %d records to come: %w", topic, left, err)
		}
		for all := fetches.RecordIter(); !all.Done(); left-- {
			record := all.Next()
			one := verdict.Record{ID: header(record, "id"), Topic: topic, Partition: record.Partition, Offset: record.Offset,
				Content: content(record.Key, record.Value, record.Headers), Generation: generation, Misplaced: !placed(record, int(first), len(ends))}
			if record.Attrs.TimestampType() == appendTime {
				one.Appended = record.Timestamp
			} else {
				one.Stamp = record.Timestamp
			}
			if one.Appended.IsZero() != (topic == r.topic(stamped)) {
				return nil, fmt.Errorf("topic %s: the records' times are not those that were asked for", topic)
			}
			records = append(records, one)
		}
	}
	return records, nil
}

// appendTime is kgo's number for message.timestamp.type=LogAppendTime.
const appendTime = 1

// placed tells whether a record is where Kafka's own producers would put it, of a topic that grew from some partitions to some.
func placed(record *kgo.Record, from, to int) bool {
	of := &kgo.Record{Key: record.Key}
	if of.Key == nil { // no key: by the event's id
		of.Key = []byte(header(record, "id"))
	}
	usual := kgo.StickyKeyPartitioner(nil).ForTopic("")
	for n := from; n <= to; n++ {
		if int32(usual.Partition(of, n)) == record.Partition {
			return true
		}
	}
	return false
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// ends are the end offsets of a topic's partitions.
func (r *rig) ends(ctx context.Context, topic string) (map[int32]int64, error) {
	partitions, err := r.partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewListOffsetsRequest()
	req.ReplicaID = -1
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	for _, p := range partitions {
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp = p.Partition, -1 // the end
		asked.Partitions = append(asked.Partitions, one)
	}
	req.Topics = append(req.Topics, asked)
	ends := make(map[int32]int64, len(partitions))
	for _, shard := range r.client.RequestSharded(ctx, &req) {
		if shard.Err != nil {
			return nil, fmt.Errorf("ask for the end of topic %s: %w", topic, shard.Err)
		}
		for _, answer := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, one := range answer.Partitions {
				if err := kerr.ErrorForCode(one.ErrorCode); err != nil {
					return nil, fmt.Errorf("ask for the end of topic %s, partition %d: %w", topic, one.Partition, err)
				}
				ends[one.Partition] = one.Offset
			}
		}
	}
	return ends, nil
}

// partitions are a topic's partitions, as the brokers tell now.
func (r *rig) partitions(ctx context.Context, topic string) ([]kmsg.MetadataResponseTopicPartition, error) {
	req := kmsg.NewMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	req.Topics = append(req.Topics, asked)
	res, err := req.RequestWith(ctx, r.client)
	if err != nil {
		return nil, err
	}
	if len(res.Topics) != 1 {
		return nil, errors.New("no answer for topic " + topic)
	}
	if err := kerr.ErrorForCode(res.Topics[0].ErrorCode); err != nil {
		return nil, fmt.Errorf("topic %s: %w", topic, err)
	}
	return res.Topics[0].Partitions, nil
}

// awaitLeaders waits until each partition of the topics has a leader, and as many replicas in sync as there are.
func (r *rig) awaitLeaders(ctx context.Context, topics []string) error {
	return poll(ctx, func() (bool, error) {
		for _, topic := range topics {
			partitions, err := r.partitions(ctx, topic)
			if err != nil {
				return false, nil // brokers that are coming up
			}
			for _, p := range partitions {
				if p.Leader < 0 || len(p.ISR) < len(p.Replicas) {
					return false, nil
				}
			}
		}
		return true, nil
	})
}

// awaitGone waits until no broker knows a topic any more.
func (r *rig) awaitGone(ctx context.Context, topic string) error {
	return poll(ctx, func() (bool, error) {
		for id := 1; id <= brokers; id++ {
			req := kmsg.NewPtrMetadataRequest()
			asked := kmsg.NewMetadataRequestTopic()
			asked.Topic = &topic
			req.Topics = append(req.Topics, asked)
			res, err := r.client.Broker(id).Request(ctx, req)
			if err != nil {
				return false, nil
			}
			topics := res.(*kmsg.MetadataResponse).Topics
			if len(topics) != 1 || !errors.Is(kerr.ErrorForCode(topics[0].ErrorCode), kerr.UnknownTopicOrPartition) {
				return false, nil
			}
		}
		return true, nil
	})
}

// deleteTopic deletes a topic.
func (r *rig) deleteTopic(ctx context.Context, topic string) error {
	req := kmsg.NewDeleteTopicsRequest()
	req.TopicNames = []string{topic}
	one := kmsg.NewDeleteTopicsRequestTopic()
	one.Topic = &topic
	req.Topics = append(req.Topics, one)
	req.TimeoutMillis = 10_000
	res, err := req.RequestWith(ctx, r.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(res.Topics[0].ErrorCode)
}

// poll asks every 20 ms until done, or an error.
func poll(ctx context.Context, ask func() (done bool, err error)) error {
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticks.C:
		}
	}
}
