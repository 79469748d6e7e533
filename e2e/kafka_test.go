package e2e

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// client is a Kafka client of the tests.
func (p *pipe) client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(p.brokers...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// read returns all records that are in a topic now, by partition, each in the
// order of its log. It asks for the end offsets first and reads up to these, so
// a record that is missing is not one that comes later.
func (p *pipe) read(t testing.TB, topic string) [][]*kgo.Record {
	t.Helper()
	var records [][]*kgo.Record
	p.each(t, topic, func(r *kgo.Record) {
		for len(records) <= int(r.Partition) {
			records = append(records, nil)
		}
		records[r.Partition] = append(records[r.Partition], r)
	})
	for i := range records {
		for j, r := range records[i] {
			if r.Offset != int64(j) {
				t.Fatalf("topic %s, partition %d: record %d has offset %d", topic, i, j, r.Offset)
			}
		}
	}
	return records
}

// each calls do for each record that is in a topic now.
func (p *pipe) each(t testing.TB, topic string, do func(*kgo.Record)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := p.client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	left := int64(0)
	for _, end := range p.ends(t, c, topic) {
		left += end
	}
	ends := left
	for left > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read topic %s, %d of %d records: %v", topic, ends-left, ends, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			do(r)
			left--
		})
	}
}

// flat returns the result of read as one list, one partition after the other.
func flat(partitions [][]*kgo.Record) []*kgo.Record {
	var all []*kgo.Record
	for _, records := range partitions {
		all = append(all, records...)
	}
	return all
}

// size returns how many records are in a topic now.
func (p *pipe) size(t testing.TB, c *kgo.Client, topic string) int64 {
	t.Helper()
	var n int64
	for _, end := range p.ends(t, c, topic) {
		n += end
	}
	return n
}

// ends returns the end offsets of the partitions.
func (p *pipe) ends(t testing.TB, c *kgo.Client, topic string) []int64 {
	t.Helper()
	partitions := p.partitions(t, c, topic)
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
	ends := make([]int64, partitions)
	// The client sends a part of the request to each leader.
	for _, shard := range c.RequestSharded(t.Context(), &req) {
		if shard.Err != nil {
			t.Fatalf("ask for the end of topic %s: %v", topic, shard.Err)
		}
		for _, answer := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, one := range answer.Partitions {
				if err := kerr.ErrorForCode(one.ErrorCode); err != nil {
					t.Fatalf("ask for the end of topic %s, partition %d: %v", topic, one.Partition, err)
				}
				ends[one.Partition] = one.Offset
			}
		}
	}
	return ends
}

func (p *pipe) partitions(t testing.TB, c *kgo.Client, topic string) int {
	t.Helper()
	answer, err := p.metadata(t, c, topic)
	if err != nil {
		t.Fatal(err)
	}
	return len(answer.Partitions)
}

func (p *pipe) metadata(t testing.TB, c *kgo.Client, topic string) (*kmsg.MetadataResponseTopic, error) {
	t.Helper()
	req := kmsg.NewMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	req.Topics = append(req.Topics, asked)
	res, err := req.RequestWith(t.Context(), c)
	if err != nil {
		return nil, err
	}
	if len(res.Topics) != 1 {
		return nil, errors.New("ask for topic " + topic + ": the answer does not have it")
	}
	return &res.Topics[0], kerr.ErrorForCode(res.Topics[0].ErrorCode)
}

// absent fails the test if a topic exists.
func (p *pipe) absent(t testing.TB, topic string) {
	t.Helper()
	if _, err := p.metadata(t, p.client(t), topic); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("topic %s exists, but must not be created: %v", topic, err)
	}
}

// alter sets a property of a topic.
func (p *pipe) alter(t testing.TB, topic, name, value string) {
	t.Helper()
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = name, &value
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	resource.Configs = append(resource.Configs, config)
	req := kmsg.NewIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, resource)
	res, err := req.RequestWith(t.Context(), p.client(t))
	if err == nil {
		err = kerr.ErrorForCode(res.Resources[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("set %s of topic %s: %v", name, topic, err)
	}
}

// javaPartition returns the partition into which a Java producer puts a key.
func javaPartition(key []byte, partitions int) int32 {
	r := &kgo.Record{Key: key}
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(r, partitions))
}

// headers returns a record's headers by name. Two with the same name fail the
// test.
func headers(t testing.TB, r *kgo.Record) map[string]*string {
	t.Helper()
	m := make(map[string]*string, len(r.Headers))
	for _, h := range r.Headers {
		if _, twice := m[h.Key]; twice {
			t.Errorf("offset %d of partition %d has header %s twice", r.Offset, r.Partition, h.Key)
		}
		m[h.Key] = text(h.Value)
	}
	return m
}

// text returns nil for nil, because null is not empty.
func text(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

// show formats a value for messages.
func show(s *string) string {
	if s == nil {
		return "null"
	}
	return "\"" + *s + "\""
}
