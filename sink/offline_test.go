package sink

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/sink/lane"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// stubClient knows partitions as a cluster without brokers would: topics are there, leaders are not.
type stubClient struct {
	sarama.Client // nil: nothing else is to be called

	mu         sync.Mutex
	partitions map[string]int
	looked     chan string // a topic each time that a leader in it is looked for
}

func (c *stubClient) RefreshMetadata(...string) error   { return nil }
func (c *stubClient) LeastLoadedBroker() *sarama.Broker { return nil }
func (c *stubClient) Close() error                      { return nil }
func (c *stubClient) create(topic string, partitions int) {
	c.mu.Lock()
	c.partitions[topic] = partitions
	c.mu.Unlock()
}
func (c *stubClient) Partitions(topic string) ([]int32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.partitions[topic]; n > 0 {
		return make([]int32, n), nil
	}
	return nil, sarama.ErrUnknownTopicOrPartition
}

func (c *stubClient) Leader(topic string, _ int32) (*sarama.Broker, error) {
	select {
	case c.looked <- topic:
	default:
	}
	return nil, sarama.ErrLeaderNotAvailable
}

// offline is a producer whose events get as far as their lanes.
func offline(t testing.TB, cfg Config, acks Acks) (*Producer, *stubClient) {
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		t.Fatal(err)
	}
	c := &stubClient{partitions: map[string]int{}, looked: make(chan string, 1000)}
	p := newProducer(&cfg, cfg.Logger, m, acks, c, wire.NewSplicer(nil))
	p.id = lane.Identity{Producer: 5, Epoch: 1}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, c
}

// placed waits until events of the topic have come to their lanes.
func (c *stubClient) placed(t testing.TB, topic string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case name := <-c.looked:
			if name == topic {
				return
			}
		case <-deadline:
			t.Fatalf("nothing came to a lane of topic %s", topic)
		}
	}
}

// takeQueued empties a topic's lanes and returns what they held, by partition.
func (p *Producer) takeQueued(topic string) [][]*lane.Batch {
	partitions := *p.topics[topic].partitions.Load()
	got := make([][]*lane.Batch, len(partitions))
	for i, part := range partitions {
		got[i] = part.lane.GiveBack()
	}
	return got
}

// idsOf returns the ids of the events in batches.
func idsOf(batches []*lane.Batch) (ids []string) {
	for _, b := range batches {
		b.Each(func(_ int, r recordbatch.Raw, _ uint64) { ids = append(ids, string(r.Record().Headers[0].Value)) })
	}
	return ids
}

// logLines is a logger that keeps its lines.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

func (l *logLines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.lines...)
}

func (l *logLines) count(part string) (n int) {
	for _, line := range l.all() {
		n += strings.Count(line, part)
	}
	return n
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// sample reads a metric of the test's configuration: the sum and the number of its series whose labels hold these values.
func sample(t testing.TB, cfg Config, name string, values ...string) (sum float64, series int) {
	t.Helper()
	families, err := cfg.Registerer.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := 0
			for _, l := range m.GetLabel() {
				if slices.Contains(values, l.GetValue()) {
					has++
				}
			}
			if has == len(values) {
				series++
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum, series
}
