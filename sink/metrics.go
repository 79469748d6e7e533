package sink

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// sinkMetrics are the sink's. They exist from the start.
type sinkMetrics struct {
	connected      prometheus.Gauge
	duration       prometheus.Histogram
	published      *prometheus.CounterVec
	publishedBytes *prometheus.CounterVec
	failed         *prometheus.CounterVec
	topicBlocked   *prometheus.GaugeVec
	retries        prometheus.Counter
	reconnects     prometheus.Counter
	reserved       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*sinkMetrics, error) {
	kafka := prometheus.Labels{"target": "kafka"}
	m := &sinkMetrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "walpost_connected", ConstLabels: kafka,
			Help: "Whether there is a connection to the target."}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "walpost_publish_duration_seconds",
			Help: "Time from sending a produce request to its answer.", Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16)}),
		published: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "walpost_events_published_total",
			Help: "Events that all in-sync replicas have acknowledged."}, []string{"topic"}),
		publishedBytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "walpost_published_bytes_total",
			Help: "Bytes of the acknowledged record batches, as sent."}, []string{"topic"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "walpost_events_failed_total",
			Help: "Events that can never become a record."}, []string{"topic", "reason"}),
		topicBlocked: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "walpost_topic_blocked_seconds",
			Help: "How long events of the topic have waited for Kafka to take them; 0 while they flow."}, []string{"topic"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{Name: "walpost_retries_total", ConstLabels: kafka,
			Help: "What was tried again after it had failed: batches to Kafka, connections and sessions with Postgres."}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{Name: "walpost_reconnects_total", ConstLabels: kafka,
			Help: "Attempts to connect to the target again."}),
		reserved: prometheus.NewCounter(prometheus.CounterOpts{Name: "walpost_reserved_headers_total",
			Help: "Pairs of the headers column that were left out because their name is reserved."}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.connected, m.duration, m.published, m.publishedBytes, m.failed, m.topicBlocked, m.retries, m.reconnects, m.reserved} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *sinkMetrics) topic(name string) (published, bytes prometheus.Counter) {
	m.topicBlocked.WithLabelValues(name)
	return m.published.WithLabelValues(name), m.publishedBytes.WithLabelValues(name)
}

func (m *sinkMetrics) blocked(topic string, d time.Duration) {
	m.topicBlocked.WithLabelValues(topic).Set(d.Seconds())
}
