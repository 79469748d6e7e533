package relay

import (
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/relay/inflight"
	"walpost/relay/parking"
	"walpost/relay/postgres"
)

// metrics are a relay's metrics. The reader updates them once per pass and never per event.
type metrics struct {
	leader, connected          prometheus.Gauge
	events, transactions       atomic.Int64
	retries, reconnects        prometheus.Counter
	watchFailures              prometheus.Counter
	backfillRows, backfillDone prometheus.Counter
	lastEvent, lastConfirm     instant
	serverEnd, confirmed       atomic.Uint64                    // the last positions that the server sent and that were confirmed in this session
	filling                    atomic.Pointer[inflight.Tracker] // the backfill's, while one runs
}

// instant is a time that one goroutine sets and others read.
type instant struct{ ns atomic.Int64 }

func (i *instant) set(t time.Time) { i.ns.Store(t.UnixNano()) }

func (i *instant) time() time.Time {
	if ns := i.ns.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

func (i *instant) seconds() float64 { return float64(i.ns.Load()) / 1e9 }

// newMetrics registers the metrics, all at 0.
func newMetrics(reg prometheus.Registerer, f *inflight.Tracker, b *inflight.Budget) (*metrics, error) {
	m := &metrics{}
	var errs []error
	register := func(c prometheus.Collector) { errs = append(errs, reg.Register(c)) }
	gauge := func(name, help string, labels prometheus.Labels) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "walpost_" + name, Help: help, ConstLabels: labels})
		register(g)
		return g
	}
	counter := func(name, help string, labels prometheus.Labels) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "walpost_" + name, Help: help, ConstLabels: labels})
		register(c)
		return c
	}
	read := func(name, help string, f func() float64) {
		register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "walpost_" + name, Help: help}, f))
	}
	count := func(name, help string, n *atomic.Int64) {
		register(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "walpost_" + name, Help: help}, func() float64 { return float64(n.Load()) }))
	}
	postgres := prometheus.Labels{"target": "postgres"}
	m.leader = gauge("leader", "Whether this relay holds the slot and streams.", nil)
	m.connected = gauge("connected", "Whether there is a connection to the target.", postgres)
	m.retries = counter("retries_total", "What was tried again after it had failed: batches to Kafka, connections and sessions with Postgres.", postgres)
	m.reconnects = counter("reconnects_total", "Attempts to connect to the target again.", postgres)
	m.watchFailures = counter("watch_failures_total", "Checks of slot, outbox and publication that failed. While they fail, rows that reach no slot go unnoticed.", nil)
	count("events_received_total", "Outbox rows received from the slot, including redeliveries.", &m.events)
	count("transactions_total", "Complete transactions received from the slot. Transactions without outbox rows count only if the server sends them.", &m.transactions)
	m.backfillRows = counter("backfill_rows_total", "Rows found in the outbox by backfills.", nil)
	m.backfillDone = counter("backfill_rows_done_total", "Rows of backfills that were acked.", nil)
	read("lag_seconds", "Age of the oldest transaction with unacked events; 0 when there is none.", func() float64 {
		if oldest := f.Load().Oldest; !oldest.IsZero() {
			return max(time.Since(oldest).Seconds(), 0)
		}
		return 0
	})
	read("inflight_events", "Events that were published and not yet acked.", func() float64 { return float64(f.Load().Unacked + m.filled()) })
	read("inflight_bytes", "Bytes of the budget that unacked events use.", func() float64 { return float64(b.Used()) })
	read("inflight_limit_bytes", "The byte budget: when it is used up, reading stops.", func() float64 { return float64(b.Limit()) })
	read("slot_confirmed_lag_bytes", "WAL in bytes between the last position that the server sent and the last confirmed position, in this session.", func() float64 { return float64(m.confirmedLag()) })
	read("last_event_timestamp_seconds", "When an outbox row last came from the slot.", m.lastEvent.seconds)
	read("last_confirm_timestamp_seconds", "When a higher position was last confirmed to Postgres.", m.lastConfirm.seconds)
	register(latencyCollector{f, prometheus.NewDesc("walpost_delivery_latency_seconds", "Time from a transaction's commit to the ack of its last event.", nil, nil)})
	return m, errors.Join(errs...)
}

// registerParked registers the metrics of what is parked.
func registerParked(reg prometheus.Registerer, parked func() parking.Parked) error {
	read := func(name, help string, f func(parking.Parked) float64) error {
		return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "walpost_" + name, Help: help}, func() float64 { return f(parked()) }))
	}
	return errors.Join(
		read("dead_letters", "Events that are parked in walpost.dead_letters, as last seen.", func(p parking.Parked) float64 { return float64(p.Events) }),
		read("parked_keys", "Keys whose events are parked.", func(p parking.Parked) float64 { return float64(p.Keys) }),
		read("parked_topics", "Topics that take no records, and whose events are parked until they do.", func(p parking.Parked) float64 { return float64(len(p.Topics)) }),
		reg.Register(parkedTopics(parked)))
}

// parkedTopics are the metrics of topics whose events are parked.
type parkedTopics func() parking.Parked

var (
	parkedEvents  = prometheus.NewDesc("walpost_parked_topic_events", "Events that are parked until their topic takes records.", []string{"topic"}, nil)
	parkedBytes   = prometheus.NewDesc("walpost_parked_topic_bytes", "Bytes of their keys, values and headers.", []string{"topic"}, nil)
	parkedSeconds = prometheus.NewDesc("walpost_parked_topic_seconds", "For how long they have been parked.", []string{"topic"}, nil)
)

// Describe implements prometheus.Collector.
func (parkedTopics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{parkedEvents, parkedBytes, parkedSeconds} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (p parkedTopics) Collect(ch chan<- prometheus.Metric) {
	for _, w := range p().Topics {
		topic := strings.ToValidUTF8(w.Topic, "?")
		for d, v := range map[*prometheus.Desc]float64{parkedEvents: float64(w.Events), parkedBytes: float64(w.Bytes), parkedSeconds: time.Since(w.Since).Seconds()} {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, topic)
		}
	}
}

// registerSlot registers the metrics of the slot, as it was last read.
func registerSlot(reg prometheus.Registerer, slot func() postgres.SlotState) error {
	var errs []error
	read := func(name, help string, labels prometheus.Labels, f func(postgres.SlotState) float64) {
		errs = append(errs, reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "walpost_slot_" + name, Help: help, ConstLabels: labels}, func() float64 { return f(slot()) })))
	}
	read("retained_wal_bytes", "Bytes of WAL that the slot keeps, as last seen.", nil, func(s postgres.SlotState) float64 { return float64(s.RetainedBytes) })
	read("safe_wal_bytes", "Bytes of WAL that can still be written before Postgres may invalidate the slot, as last seen; NaN if max_slot_wal_keep_size sets no limit, and until the slot was seen.",
		nil, func(s postgres.SlotState) float64 {
			if s.Seen.IsZero() || s.SafeBytes < 0 {
				return math.NaN() // 0 would be an emergency
			}
			return float64(s.SafeBytes)
		})
	read("active", "Whether this or another relay streams from the slot, as last seen.", nil, func(s postgres.SlotState) float64 { return oneIf(s.Active) })
	for _, status := range []string{"reserved", "extended", "unreserved", "lost"} {
		read("wal_status", "Whether the slot has this wal_status, as last seen.", prometheus.Labels{"status": status},
			func(s postgres.SlotState) float64 { return oneIf(s.WALStatus == status) })
	}
	return errors.Join(errs...)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// confirmedLag returns how many bytes of WAL the confirmed position is behind the server, and 0 until something was confirmed in this
// session.
func (m *metrics) confirmedLag() int64 {
	end, confirmed := m.serverEnd.Load(), m.confirmed.Load()
	if confirmed == 0 || end < confirmed {
		return 0
	}
	return int64(end - confirmed)
}

// filled returns how many events of a backfill the sink holds.
func (m *metrics) filled() int64 {
	if f := m.filling.Load(); f != nil {
		return f.Load().Unacked
	}
	return 0
}

// latencyCollector collects the histogram of a tracker.
type latencyCollector struct {
	tracker *inflight.Tracker
	desc    *prometheus.Desc
}

func (c latencyCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c latencyCollector) Collect(ch chan<- prometheus.Metric) {
	count, sum, buckets := c.tracker.Latency()
	ch <- prometheus.MustNewConstHistogram(c.desc, count, sum, buckets)
}
