package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/chaos/topics"
	"walpost/chaos/verdict"
)

// readTopic reads all records of a topic, each partition in the order of its log, with a client that shares no code with walpost. It asks
// for the end offsets first and reads up to these, so a record that is missing is not one that comes later.
func (r *round) readTopic(ctx context.Context, topic string) ([]verdict.Record, error) {
	ends, err := topics.Ends(ctx, r.client, topic)
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
	usual := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
	generation, first := r.generation(topic), partitions[strings.TrimPrefix(topic, r.name+".")]
	for left > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read topic %s, %d records left: %w", topic, left, err)
		}
		for all := fetches.RecordIter(); !all.Done(); left-- {
			record := all.Next()
			one := verdict.Record{ID: header(record, "id"), Topic: topic, Partition: record.Partition, Offset: record.Offset,
				Content: content(record.Key, record.Value, record.Headers), Generation: generation, Replayed: header(record, "walpost_replay") != "", Misplaced: !placed(usual, record, int(first), len(ends))}
			if record.Attrs.TimestampType() == appendTime {
				one.Appended = record.Timestamp
			} else {
				one.Stamp = record.Timestamp
			}
			if one.Appended.IsZero() != (topic == r.topic(stamped)) {
				return nil, fmt.Errorf("topic %s: the records do not have the timestamp type that the topic was created with", topic)
			}
			records = append(records, one)
		}
	}
	return records, nil
}

// appendTime is kgo's constant for message.timestamp.type=LogAppendTime.
const appendTime = 1

// placed reports whether a record is where Kafka's own producers would put it, in a topic that has grown from some number of partitions to
// another.
func placed(usual kgo.TopicPartitioner, record *kgo.Record, from, to int) bool {
	of := &kgo.Record{Key: record.Key}
	if of.Key == nil { // without a key the event's id decides
		of.Key = []byte(header(record, "id"))
	}
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
