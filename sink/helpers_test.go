package sink

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/schema"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// ledger is the Acks of a test. It records what was reported for which transaction.
type ledger struct {
	mu       sync.Mutex
	acked    map[uint64]int
	order    []uint64 // transactions as they were acked
	bytes    int
	rejected map[uint64]error
	changed  chan struct{}
}

func newLedger() *ledger {
	return &ledger{acked: map[uint64]int{}, rejected: map[uint64]error{}, changed: make(chan struct{}, 1)}
}

func (l *ledger) Acked(runs []schema.Run, bytes int) {
	l.mu.Lock()
	for _, r := range runs {
		l.acked[r.Tx] += int(r.Rows)
		l.order = append(l.order, r.Tx)
	}
	l.bytes += bytes
	l.mu.Unlock()
	l.signal()
}

func (l *ledger) Rejected(tx uint64, err error) {
	l.mu.Lock()
	l.rejected[tx] = err
	l.mu.Unlock()
	l.signal()
}

func (l *ledger) signal() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *ledger) total() (acked, rejected int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.acked {
		acked += n
	}
	return acked, len(l.rejected)
}

// wait returns once this many events were acked and this many were rejected.
func (l *ledger) wait(t testing.TB, acked, rejected int) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		a, r := l.total()
		if a == acked && r == rejected {
			return
		}
		if a > acked || r > rejected {
			t.Fatalf("%d events acked and %d rejected, want only %d and %d: %v", a, r, acked, rejected, l.rejected)
		}
		select {
		case <-l.changed:
		case <-deadline:
			t.Fatalf("after a minute %d of %d events acked, %d of %d rejected: %v", a, acked, r, rejected, l.rejected)
		}
	}
}

// config returns a configuration for tests.
func config(t testing.TB, brokers []string) Config {
	topic, err := schema.ParseTemplate("{aggregatetype}", schema.DefaultMapping())
	if err != nil {
		t.Fatal(err)
	}
	return Config{Brokers: brokers, ClientID: "walpost-test", MaxRequestSize: 1_000_000, Codec: recordbatch.Zstd,
		Record: record.Config{Topic: topic, Source: "/walpost/shop/walpost.outbox"}, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil)), Registerer: prometheus.NewRegistry()}
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// open opens a producer that is closed with the test.
func open(t testing.TB, cfg Config, acks Acks) *Producer {
	t.Helper()
	k, err := NewKafka(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := k.Open(ctx, acks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// event makes the i-th event of a topic; events with the same key share a partition.
func event(topic, key string, i int) *schema.Event {
	ev := &schema.Event{CreatedAt: schema.NoTime, Timestamp: schema.NoTime, CommitTime: time.Now().UnixMicro(),
		Position: schema.Position{Timeline: 1, LSN: uint64(i) + 1}}
	ev.Values[schema.ID] = fmt.Appendf(nil, "%08d", i)
	ev.Values[schema.AggregateType] = []byte(topic)
	ev.Values[schema.AggregateID] = []byte(key)
	ev.Values[schema.Type] = []byte("OrderPlaced")
	ev.Values[schema.Payload] = fmt.Appendf(nil, `{"number": %d, "customer": "c-%d"}`, i, i%97)
	return ev
}

// publish publishes one event or ends the test.
func publish(t testing.TB, p *Producer, ev *schema.Event, tx uint64) int {
	t.Helper()
	n, err := p.Publish(ev, tx)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// consume reads a topic from its beginning until it has this many records. It returns them per partition, in order.
func consume(t testing.TB, brokers []string, topic string, count int) [][]*sarama.ConsumerMessage {
	t.Helper()
	cfg := sarama.NewConfig()
	cfg.Consumer.Return.Errors = true
	cfg.Consumer.MaxWaitTime = 10 * time.Millisecond // what a consumer that is closed waits for
	client, err := sarama.NewClient(brokers, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	partitions, err := client.Partitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	got := make([][]*sarama.ConsumerMessage, len(partitions))
	for _, n := range partitions {
		end, err := client.GetOffset(topic, n, sarama.OffsetNewest)
		if err != nil {
			t.Fatal(err)
		}
		if end == 0 {
			continue
		}
		pc, err := consumer.ConsumePartition(topic, n, sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		for m := range pc.Messages() {
			got[n] = append(got[n], m)
			count--
			if m.Offset == end-1 {
				break
			}
		}
		pc.Close()
	}
	if count != 0 {
		t.Fatalf("topic %s has %d records too few (less than 0: too many)", topic, count)
	}
	return got
}
