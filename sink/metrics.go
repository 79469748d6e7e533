package sink

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sinkMetrics are the metrics of the sink. They are registered at the start.
type sinkMetrics struct {
	connected      prometheus.Gauge
	duration       prometheus.Histogram
	published      *prometheus.CounterVec
	publishedBytes *prometheus.CounterVec
	failed         *prometheus.CounterVec
	topicBlocked   blockedTopics
	retries        prometheus.Counter
	reconnects     prometheus.Counter
	reserved       prometheus.Counter

	opening   atomic.Pointer[error]  // why Kafka gives no producer id, while a producer waits for one
	mu        sync.Mutex             // see Producer.mu
	producers map[*Producer]struct{} // the open producers
}

func newMetrics(reg prometheus.Registerer) (*sinkMetrics, error) {
	kafka := prometheus.Labels{"target": "kafka"}
	m := &sinkMetrics{
		producers: map[*Producer]struct{}{},
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "walpost_connected", ConstLabels: kafka,
			Help: "Whether there is a connection to the target."}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "walpost_publish_duration_seconds",
			Help: "Time from sending a produce request to its answer.", Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16)}),
		published: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "walpost_events_published_total",
			Help: "Events that all in-sync replicas have acknowledged."}, []string{"topic"}),
		publishedBytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "walpost_published_bytes_total",
			Help: "Bytes of the acknowledged record batches, as sent."}, []string{"topic"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "walpost_events_failed_total",
			Help: "Refused events, which can never become a record. A retry that is refused counts again, an event that is only delivered again does not."}, []string{"topic", "reason"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{Name: "walpost_retries_total", ConstLabels: kafka,
			Help: "What was tried again after it had failed: batches to Kafka, connections and sessions with Postgres."}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{Name: "walpost_reconnects_total", ConstLabels: kafka,
			Help: "Attempts to connect to the target again."}),
		reserved: prometheus.NewCounter(prometheus.CounterOpts{Name: "walpost_reserved_headers_total",
			Help: "Pairs of the headers column that were left out because their name is reserved."}),
	}
	m.topicBlocked = blockedTopics{m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "walpost_topic_blocked_seconds",
		Help: "How long the oldest unacked event of the topic has waited for Kafka to take it; 0 for less than a second."}, []string{"topic"})}
	var errs []error
	for _, c := range []prometheus.Collector{m.connected, m.duration, m.published, m.publishedBytes, m.failed, m.topicBlocked, m.retries, m.reconnects, m.reserved} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *sinkMetrics) topic(name string) (published, bytes prometheus.Counter) {
	m.blocked(name, 0)
	return m.published.WithLabelValues(name), m.publishedBytes.WithLabelValues(name)
}

func (m *sinkMetrics) blocked(topic string, d time.Duration) {
	m.topicBlocked.WithLabelValues(topic).Set(d.Seconds())
}

// addProducer makes the waiting events of a producer visible.
func (m *sinkMetrics) addProducer(p *Producer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.ctx.Err() == nil { // otherwise Close has called removeProducer, or is about to
		m.producers[p] = struct{}{}
	}
}

// forget deletes the label values of topics, unless another producer knows the topic.
func (m *sinkMetrics) forget(topics []string) {
	known := map[string]bool{}
	for _, p := range m.openProducers() {
		for _, t := range p.knownTopics() {
			known[t.name] = true
		}
	}
	for _, topic := range topics {
		if known[topic] {
			continue
		}
		for _, v := range []*prometheus.MetricVec{m.published.MetricVec, m.publishedBytes.MetricVec, m.topicBlocked.MetricVec} {
			v.DeleteLabelValues(topic)
		}
		m.failed.DeletePartialMatch(prometheus.Labels{"topic": topic})
	}
}

// removeProducer removes a producer that is closed. Its events no longer wait for Kafka.
func (m *sinkMetrics) removeProducer(p *Producer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.producers, p)
	for _, t := range p.knownTopics() {
		m.blocked(t.name, 0)
	}
}

func (m *sinkMetrics) openProducers() []*Producer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.producers))
}

// blockedTopics computes the waiting times when metrics are collected. A time that is set now and then would stand still when nothing
// happens.
type blockedTopics struct {
	metrics *sinkMetrics
	*prometheus.GaugeVec
}

// Collect implements [prometheus.Collector].
func (b blockedTopics) Collect(ch chan<- prometheus.Metric) {
	ages := map[string]time.Duration{}
	for _, w := range b.metrics.waits() {
		if age := time.Since(w.Since); age >= time.Second {
			ages[w.Topic] = age
		}
	}
	for _, p := range b.metrics.openProducers() {
		for _, t := range p.knownTopics() {
			b.metrics.blocked(t.name, ages[t.name])
		}
	}
	b.GaugeVec.Collect(ch)
}
