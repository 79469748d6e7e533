package sink

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/sink/lane"
	"walpost/sink/recordbatch"
	"walpost/sink/wire"
)

// stubAsker answers like a cluster whose topics exist and have no leaders.
type stubAsker struct {
	mu         sync.Mutex
	partitions map[string]int
	limits     map[string]int64
	refreshes  int
	frozen     bool // answers nothing
}

func (a *stubAsker) Metadata(ctx context.Context, _, topics []string, _ bool) (*sarama.MetadataResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refreshes++
	if a.frozen {
		a.mu.Unlock()
		<-ctx.Done()
		a.mu.Lock()
	}
	res := &sarama.MetadataResponse{Version: 9}
	for _, name := range topics {
		if a.partitions[name] == 0 {
			res.AddTopic(name, sarama.ErrUnknownTopicOrPartition)
		}
		for n := range a.partitions[name] {
			res.AddTopicPartition(name, int32(n), -1, nil, nil, nil, sarama.ErrLeaderNotAvailable)
		}
	}
	return res, nil
}

func (a *stubAsker) MaxMessageBytes(context.Context, []string, []string) (map[string]int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.limits), nil
}

func (a *stubAsker) create(topic string, partitions int) {
	a.mu.Lock()
	a.partitions[topic] = partitions
	a.mu.Unlock()
}

func (a *stubAsker) freeze() {
	a.mu.Lock()
	a.frozen = true
	a.mu.Unlock()
}

// offline returns a producer whose events get into their lanes and no further.
func offline(t testing.TB, cfg Config, acks Acks) (*Producer, *stubAsker) {
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		t.Fatal(err)
	}
	a := &stubAsker{partitions: map[string]int{}, limits: map[string]int64{}}
	p := newProducer(&cfg, cfg.Logger, m, acks, wire.NewSplicer(nil), sarama.NewConfig(), a)
	p.ids.usual = lane.Identity{Producer: 5, Epoch: 1}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, a
}

// placed waits until the events of the topic are in their lanes. Only the publishing goroutine calls it.
func (p *Producer) placed(t testing.TB, topic string) {
	t.Helper()
	to := p.topics[topic]
	until(t, "the partitions of topic "+topic, func() bool { return to.partitions.Load() != nil })
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
		b.Each(func(_ int, r recordbatch.Raw, _ lane.Origin) { ids = append(ids, string(r.Record().Headers[0].Value)) })
	}
	return ids
}

// logLines keeps the lines of a log.
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

// sample reads a metric of the test's configuration. It returns the sum of the series whose labels have these values, and their number.
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
