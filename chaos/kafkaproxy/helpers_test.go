package kafkaproxy

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"walpost/internal/kafkatest"
)

// patience is how long a test waits for something that has to happen.
const patience = 30 * time.Second

// launch starts proxies for the shared broker, and creates a topic.
func launch(t *testing.T) (c *Cluster, topic string) {
	t.Helper()
	brokers := kafkatest.Brokers(t)
	topic = kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 1, nil)
	return before(t, brokers), topic
}

// before starts proxies that end with the test, and must end without an error.
func before(t *testing.T, brokers []string) *Cluster {
	t.Helper()
	c, err := Launch(limited(t), brokers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("the proxy's own error: %v", err)
		}
	})
	return c
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// stubborn returns a client that sends each record until it succeeds. It is not
// idempotent, so the log shows each attempt that was appended.
func stubborn(t *testing.T, addresses []string, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(produceKey, 8) // walpost's
	return client(t, addresses, append([]kgo.Opt{kgo.MaxVersions(versions), kgo.DisableIdempotentWrite(), kgo.ProducerLinger(0), fast}, more...)...)
}

// fast makes a client retry at once.
var fast = kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond })

// hasty returns a client that gives up after the first error.
func hasty(t *testing.T, addresses []string) *kgo.Client {
	return stubborn(t, addresses, kgo.RecordRetries(0))
}

func client(t *testing.T, addresses []string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	k, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addresses...), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(10 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// produce sends one record to partition 0.
func produce(t *testing.T, k *kgo.Client, topic, value string) error {
	return k.ProduceSync(limited(t), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr()
}

// records returns how many records partition 0 has. It asks the broker directly.
func records(t *testing.T, topic string) int64 {
	t.Helper()
	return end(t, client(t, kafkatest.Brokers(t)), topic, 0)
}

func end(t *testing.T, k *kgo.Client, topic string, partition int32) int64 {
	t.Helper()
	q := kmsg.NewPtrListOffsetsRequest()
	q.ReplicaID = -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = partition, -1
	q.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	answer, err := q.RequestWith(limited(t), k)
	if err == nil {
		err = kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	return answer.Topics[0].Partitions[0].Offset
}

// values returns the first n records of partition 0.
func values(t *testing.T, topic string, n int) []string {
	t.Helper()
	k := client(t, kafkatest.Brokers(t), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	var got []string
	for ctx := limited(t); len(got) < n; {
		fetched := k.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			t.Fatal(err)
		}
		fetched.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	return got
}

// met waits until a fault has affected all of its requests.
func met(t *testing.T, f *Fault) {
	t.Helper()
	if err := f.Wait(limited(t)); err != nil {
		t.Fatal(err)
	}
}

// await waits until so returns true.
func await(t *testing.T, so func() bool) {
	t.Helper()
	for ctx := limited(t); !so(); {
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
