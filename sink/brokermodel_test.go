package sink

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/sink/internal/brokermodel"
	"walpost/sink/metadata"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// sent is a batch in a row of TestPartitionModel. Its events have consecutive numbers.
type sent struct {
	epoch  int16
	first  int32
	count  int
	event  uint64
	odd    []int // records without a key
	size   int   // bytes of the first value
	answer sarama.KError
	named  []int32
}

// answers are the answers of a partition to one producer's batches, in order. A string is an action on the partition.
var answers = []struct {
	what string
	acts []any
}{
	{"a new producer may begin anywhere", []any{sent{first: 7, count: 2, event: 1}, sent{first: 9, count: 1, event: 3}}},
	{"a gap", []any{sent{count: 2, event: 1}, sent{first: 5, count: 1, event: 3, answer: 45}, sent{first: 2, count: 1, event: 3}}},
	{"one of the last five comes again", []any{sent{count: 2, event: 1}, sent{first: 2, count: 1, event: 3}, sent{first: 3, count: 1, event: 4}, sent{first: 4, count: 1, event: 5},
		sent{first: 5, count: 3, event: 6}, sent{count: 2, event: 1}, sent{first: 3, count: 1, event: 4}, sent{first: 8, count: 1, event: 9}}},
	{"the sixth last comes again", []any{sent{count: 2, event: 1}, sent{first: 2, count: 1, event: 3}, sent{first: 3, count: 1, event: 4}, sent{first: 4, count: 1, event: 5},
		sent{first: 5, count: 1, event: 6}, sent{first: 6, count: 1, event: 7}, sent{count: 2, event: 1, answer: 45}, sent{first: 7, count: 1, event: 8}}},
	{"what was no batch comes again", []any{sent{count: 4, event: 1}, sent{first: 2, count: 2, event: 3, answer: 45}, sent{first: 1, count: 2, event: 2, answer: 45}}},
	{"the same sequences, other content", []any{sent{count: 2, event: 1}, sent{count: 2, event: 91}, sent{first: 2, count: 1, event: 3}}},
	{"the same first sequence, another count", []any{sent{count: 2, event: 1}, sent{count: 3, event: 1, answer: 45}}},
	{"epochs", []any{sent{count: 2, event: 1}, sent{epoch: 1, first: 5, count: 1, event: 3, answer: 45}, sent{first: 2, count: 1, event: 3}, sent{epoch: 1, count: 1, event: 4},
		sent{first: 3, count: 1, event: 5, answer: 47}, sent{epoch: 1, first: 1, count: 1, event: 5}, sent{epoch: 1, count: 1, event: 4}, sent{count: 2, event: 1, answer: 47}}},
	{"across the last sequence", []any{sent{first: 1<<31 - 3, count: 5, event: 1}, sent{first: 2, count: 1, event: 6}, sent{first: 1<<31 - 3, count: 5, event: 1}}},
	{"up to the last sequence", []any{sent{first: 1<<31 - 3, count: 3, event: 1}, sent{count: 2, event: 4}, sent{first: 2, count: 1, event: 6}}},
	{"too large, then in halves", []any{"max.message.bytes=2000", sent{count: 2, event: 1, size: 3000, answer: 10}, sent{count: 1, event: 1}, sent{first: 1, count: 1, event: 2}}},
	{"appended, then too large", []any{sent{count: 2, event: 1, size: 3000}, "max.message.bytes=2000", sent{count: 2, event: 1, size: 3000, answer: 10},
		"max.message.bytes=100000", sent{count: 2, event: 1, size: 3000}}},
	{"without a key in a compacted topic", []any{"cleanup.policy=compact", sent{count: 4, event: 1, odd: []int{2}, answer: 87, named: []int32{2}}, sent{count: 2, event: 1}, sent{first: 2, count: 1, event: 4}}},
	{"several without a key in a compacted topic", []any{"cleanup.policy=compact", sent{count: 9, event: 1, odd: []int{0, 3, 4, 5, 8}, answer: 87, named: []int32{0, 3, 4, 5, 8}},
		sent{count: 1, event: 1, odd: []int{0}, answer: 87, named: []int32{0}}, sent{count: 2, event: 2}}},
	{"appended, then refused by name", []any{sent{count: 3, event: 1, odd: []int{1}}, "cleanup.policy=compact", sent{count: 3, event: 1, odd: []int{1}, answer: 87, named: []int32{1}}, "cleanup.policy=delete",
		sent{count: 3, event: 1, odd: []int{1}}}},
	{"all records are deleted", []any{sent{count: 2, event: 1}, "delete records", sent{count: 2, event: 1}, sent{first: 5, count: 1, event: 3, answer: 45}, sent{first: 2, count: 1, event: 3}}},
	{"the topic is re-created", []any{sent{count: 2, event: 1}, "re-create", sent{first: 3, count: 1, event: 4}, sent{first: 2, count: 1, event: 3, answer: 45}, sent{first: 4, count: 1, event: 5}}},
	{"the producer is forgotten", []any{sent{count: 2, event: 1}, sent{first: 2, count: 1, event: 3}, "forget", sent{count: 2, event: 1}, "forget", sent{first: 7, count: 1, event: 8}}},
}

// TestPartitionModel sends the same batches to the model and to a real partition. The answers must be the same, and so must the logs.
func TestPartitionModel(t *testing.T) {
	playAnswers(t, kafkatest.Brokers(t), false)
}

// playAnswers runs the rows that need a broker of the test's own, which may forget producers, or the other rows.
func playAnswers(t *testing.T, brokers []string, own bool) {
	a := admin(t, brokers)
	for n, test := range answers {
		if slices.Contains(test.acts, any("forget")) != own {
			continue
		}
		t.Run(test.what, func(t *testing.T) {
			topic := kafkatest.Name(t)
			kafkatest.Topic(t, brokers, topic, 1, nil)
			ask := dialPartition(t, brokers, topic)
			model, gone := brokermodel.New(brokermodel.Kafka43), 0
			for i, act := range test.acts {
				switch act := act.(type) {
				case sent:
					b, request := act.batch(t, int64(1_000_000+n)) // a producer id that no broker gave out
					want := wire.Answer{Named: act.named}
					if act.answer != 0 {
						want.Err = act.answer
					}
					got, _ := model.Produce(request)
					model.Replicate()
					if real := ask(b); !reflect.DeepEqual(wire.Answer(got), want) || !reflect.DeepEqual(real, want) {
						t.Fatalf("batch %d: the model says %+v, the broker %+v, want %+v", i, got, real, want)
					}
				case string:
					gone = disturb(t, brokers, a, topic, act, &model, gone)
				}
			}
			var want, got []string
			for _, s := range model.Seen[gone:] {
				want = append(want, fmt.Sprint(s.Event))
			}
			for _, m := range consume(t, brokers, topic, len(want))[0] {
				got = append(got, strings.TrimSpace(string(m.Value)))
			}
			if !slices.Equal(got, want) {
				t.Errorf("the log has %v, the model's %v", got, want)
			}
		})
	}
}

// disturb performs an action on the partition and on its model. It returns how much of the model's log can no longer be read.
func disturb(t *testing.T, brokers []string, a sarama.ClusterAdmin, topic, act string, model *brokermodel.Partition, gone int) int {
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	name, value, _ := strings.Cut(act, "=")
	switch act {
	case "delete records":
		must(a.DeleteRecords(topic, map[int32]int64{0: -1}))
		return len(model.Seen)
	case "re-create":
		must(a.DeleteTopic(topic))
		detail := &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}
		until(t, "the topic again", func() bool { return a.CreateTopic(topic, detail, false) == nil })
		kafkatest.Led(t, brokers, topic, 1)
		model.Recreate()
		return len(model.Seen)
	case "forget":
		expire := func(ms string) {
			must(a.IncrementalAlterConfig(sarama.BrokerResource, "", map[string]sarama.IncrementalAlterConfigsEntry{
				"producer.id.expiration.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &ms}}, false))
		}
		expire("1")
		until(t, "producers to be forgotten", func() bool { return len(producerState(t, brokers, topic, 0)) == 0 })
		expire("86400000")
		model.Forget()
	default:
		setTopic(t, brokers, topic, name, value)
		if name == "max.message.bytes" {
			_, err := fmt.Sscan(value, &model.Limit)
			must(err)
		}
		model.Compacted = act == "cleanup.policy=compact"
	}
	return gone
}

// batch returns the batch, and the model's request with it.
func (s sent) batch(t *testing.T, producer int64) ([]byte, brokermodel.Request) {
	b := &recordbatch.Batch{}
	var events []uint64
	var keys []bool
	for i := range s.count {
		rec := &recordbatch.Record{Timestamp: time.Now().UnixMilli(), Key: []byte("k"), Value: fmt.Append(nil, s.event+uint64(i))}
		if i == 0 && s.size > 0 {
			rec.Value = append(rec.Value, strings.Repeat(" ", s.size)...)
		}
		if slices.Contains(s.odd, int(i)) {
			rec.Key = nil
		}
		b.Append(rec, rec.Size())
		events, keys = append(events, s.event+uint64(i)), append(keys, rec.Key != nil)
	}
	e, err := recordbatch.NewEncoder(recordbatch.None)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Seal(e, recordbatch.Stamp{ProducerID: producer, Epoch: s.epoch, Sequence: s.first}); err != nil {
		t.Fatal(err)
	}
	return b.Wire(), brokermodel.NewRequest(b.Wire(), events, keys)
}

// dialPartition returns a function that sends batches to a topic's partition 0, with the product's own requests.
func dialPartition(t *testing.T, brokers []string, name string) func(batch []byte) wire.Answer {
	k, err := NewKafka(config(t, brokers))
	if err != nil {
		t.Fatal(err)
	}
	s := wire.NewSplicer(k.access)
	cfg, err := s.SaramaConfig(k.cfg.ClientID)
	if err != nil {
		t.Fatal(err)
	}
	ask := metadata.NewBrokers(cfg, brokers)
	defer ask.Close()
	meta := metadata.New(ask, func([]string) {})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		meta.Run(ctx)
	}()
	defer func() { stop(); <-ended }()
	var leader *sarama.Broker
	until(t, "the partition's leader", func() bool {
		<-meta.Refresh(name, 0)
		leader, err = meta.Leader(name, 0)
		return err == nil
	})
	link, err := s.Link(leader.Addr(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	return func(batch []byte) wire.Answer {
		t.Helper()
		answered := make(chan wire.Answer, 1)
		err = link.Produce([]wire.Part{{Topic: name, Batch: batch}}, func(answers []wire.Answer, err error) {
			if err != nil {
				t.Error(err)
				answers = []wire.Answer{{Err: err}}
			}
			answered <- answers[0]
		})
		if err != nil {
			t.Fatal(err)
		}
		return <-answered
	}
}
