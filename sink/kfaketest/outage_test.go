package kfaketest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"walpost/schema"
	"walpost/sink"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// outage describes an outage of a cluster, and its size.
type outage struct {
	name   string
	ways   []string // in which the cluster fails, each for the same part of the time
	topics int
	length time.Duration
	budget int // bytes in flight, as relay.max_in_flight_bytes

	othersWell bool // the other brokers are well all the time
}

func (o outage) lanes() int { return o.topics * outagePartitions }

// besidesBudget is how much memory the relay allows beyond the budget for everything else, see cmd/walpost.
const besidesBudget = 24 << 20

// outages returns the forms of an outage.
func outages(topics int, length time.Duration, budget int) []outage {
	return []outage{
		{name: "away", ways: []string{allAway, allHungUp}, topics: topics, length: length, budget: budget},
		{name: "leaderless", ways: []string{notLeader, leaderless}, topics: topics, length: length, budget: budget},
		{name: "frozen", ways: []string{oneFrozen}, topics: topics, length: length, budget: budget, othersWell: true},
		{name: "frozen-and-led-elsewhere", ways: []string{oneFrozen, frozenLed, frozenLed, frozenLed}, topics: topics, length: length, budget: budget, othersWell: true},
	}
}

// An outage of a hundred topics with ten partitions each, in each of its forms. Memory, goroutines, log lines and requests stay within
// bounds, nothing is lost, and the order is kept. With WALPOST_TEST_LONG=1 the outage lasts a minute, with a thousand topics.
func TestOutage(t *testing.T) {
	list := outages(100, 2500*time.Millisecond, 8<<20)[:3]
	for i := range list[1:] {
		list[1+i].length = 1500 * time.Millisecond // the first is long enough for warnings
	}
	if os.Getenv("WALPOST_TEST_LONG") == "1" {
		list = outages(1000, time.Minute, 32<<20)
	}
	large := outages(47, 1500*time.Millisecond, 32<<20)[0] // batches of 70 KB, which grow event by event
	large.name += "-large-batches"
	list = append(list, large)
	for _, o := range list {
		t.Run(o.name, func(t *testing.T) { t.Log(o.run(t)) })
	}
}

// BenchmarkOutage prints what an outage of a minute takes with a thousand topics of ten partitions:
//
//	go -C sink/kfaketest test -run '^$' -bench Outage -benchtime 1x
func BenchmarkOutage(b *testing.B) {
	for _, o := range outages(1000, time.Minute, 32<<20) {
		b.Run(o.name, func(b *testing.B) {
			for b.Loop() {
				f := o.run(b)
				for _, x := range f {
					b.ReportMetric(x.value, x.unit)
				}
				if b.Failed() { // then the metrics are not printed
					fmt.Fprintln(os.Stderr, o.name, f)
				}
			}
		})
	}
}

// result is what an outage used. Memory and goroutines are the growth since before the producer was opened.
type result struct {
	outage
	events     int           // altogether
	held       int           // bytes in flight at the end of the outage
	before     usage         // without a producer
	bulk       usage         // the most during the bulk load
	small      usage         // what was reachable with a small event in each lane
	full       usage         // the same at the end of the outage
	most       usage         // the most during the outage and the way back
	traffic    Traffic       // of the outage, as all that follows
	took       time.Duration // the outage itself
	cpu        time.Duration
	retries    float64
	lost       float64       // connections
	healthy    time.Duration // the slowest ack of a broker that never freezes
	back       time.Duration // from the end of the outage to the last ack
	lines      int           // of the log
	sameLines  int           // the most about one topic and reason within a minute
	about      subject       // of these
	altogether time.Duration
}

// run runs the outage with a producer that has work, and returns the measurements. A value out of bounds fails the test.
func (o outage) run(t testing.TB) figures {
	began := time.Now()
	cluster := startCluster(t, o.topics)
	w := newWorkload(t, o.lanes(), o.budget)
	lines := &lineCounter{times: map[subject][]time.Time{}}
	registry := prometheus.NewRegistry()
	s := startSampler(t)
	r := result{outage: o, before: s.settled()}
	former := debug.SetMemoryLimit(int64(r.before.Total) + int64(o.budget) + besidesBudget)
	t.Cleanup(func() { debug.SetMemoryLimit(former) })
	w.p = o.open(t, call[[]string](cluster, "Addresses", Nothing{}), w.acks, slog.New(lines), registry)

	s.begin()
	w.bulk()
	w.settle("the bulk load")
	r.bulk = s.begin()
	r.fail(cluster, w, s, registry)
	ended := time.Now()
	call[Nothing](cluster, "Set", allWell)
	w.settle("the way back")
	r.back = max(w.acks.last.Sub(ended), 0)
	r.most, r.events = s.begin(), w.total
	r.sameLines, r.about, r.lines = lines.most()

	if err := w.p.Close(); err != nil {
		t.Error(err)
	}
	var duplicates int
	if err := cluster.client.Call("Cluster.Check", w.published, &duplicates); err != nil {
		t.Error(err)
	}
	if duplicates > 0 {
		t.Errorf("%d events are there twice", duplicates)
	}
	r.altogether = time.Since(began)
	r.check(t)
	return r.figures()
}

// fail runs the outage itself, after the producer has sent everything.
func (r *result) fail(cluster *remoteCluster, w *workload, s *sampler, registry *prometheus.Registry) {
	leaders := call[[]int32](cluster, "Leaders", Nothing{})
	before := call[Traffic](cluster, "Traffic", Nothing{})
	cpu, retries, lost := processorTime(w.t), counter(w.t, registry, "walpost_retries_total"), counter(w.t, registry, "walpost_reconnects_total")
	began := time.Now()
	clear(w.acks.slowest)
	for i, way := range r.ways {
		call[Nothing](cluster, "Set", way)
		left := r.length / time.Duration(len(r.ways))
		if i == 0 { // a small event for each lane, in one pass
			w.onePerLane()
			r.small = s.settled()
			w.p.Flush(false)
			left -= time.Since(began)
		}
		// Twice the budget is offered, so it is used up at half time.
		w.trickle(left, 2*float64(r.budget)/(largePayload+400)/r.length.Seconds())
	}
	r.took, r.cpu = time.Since(began), processorTime(w.t)-cpu
	r.retries, r.lost = counter(w.t, registry, "walpost_retries_total")-retries, counter(w.t, registry, "walpost_reconnects_total")-lost
	r.traffic = call[Traffic](cluster, "Traffic", Nothing{}).since(before)
	r.full = s.settled()
	w.acks.mu.Lock()
	defer w.acks.mu.Unlock()
	r.held = w.acks.used
	for lane, leader := range leaders {
		if leader != frozenNode {
			r.healthy = max(r.healthy, w.acks.slowest[lane])
		}
	}
}

// requests returns how many requests of a kind came during the outage.
func (r *result) requests(k kmsg.Key) float64 { return float64(r.traffic.Requests[int16(k)]) }

// mib returns the growth of a value in MiB.
func mib(now, before uint64) float64 { return (float64(now) - float64(before)) / (1 << 20) }

func (r *result) reachable() float64 { return mib(max(r.small.Heap, r.full.Heap), r.before.Heap) }
func (r *result) total() float64     { return mib(max(r.bulk.Total, r.most.Total), r.before.Total) }
func (r *result) goroutines() float64 {
	return float64(r.most.Goroutines) - float64(r.before.Goroutines)
}

// check fails the test for each value that is out of bounds.
func (r *result) check(t testing.TB) {
	// The limit for the garbage collector. It lets memory grow that far, and on a busy machine a little further.
	if most := 1.1 * float64(r.budget+besidesBudget) / (1 << 20); r.total() > most {
		t.Errorf("memory has grown by %.1f MiB, want %.1f at most", r.total(), most)
	}
	// Buffers with a fifth of them empty, the lanes and their topics, and a fixed part.
	if most := float64(r.budget*5/4+r.lanes()*1000)/(1<<20) + 6; r.reachable() > most {
		t.Errorf("%.1f MiB are reachable, want %.1f at most", r.reachable(), most)
	}
	if r.goroutines() > 60 {
		t.Errorf("%.0f goroutines", r.goroutines())
	}
	if r.sameLines > 1 {
		t.Errorf("%d lines within a minute about %v", r.sameLines, r.about)
	}
	if n := r.requests(kmsg.Metadata); n > 10*r.took.Seconds()+3 {
		t.Errorf("%.0f metadata requests in %v", n, r.took)
	}
	if n := r.requests(kmsg.InitProducerID); n > 3 {
		t.Errorf("%.0f requests for producer ids", n)
	}
	if n := r.requests(kmsg.DescribeConfigs); n > 3 {
		t.Errorf("%.0f requests for settings", n)
	}
	if r.othersWell && r.healthy > 5*time.Second {
		t.Errorf("events for healthy brokers took %v", r.healthy)
	}
}

// figures returns the measurements to print.
func (r *result) figures() figures {
	f := figures{
		{float64(r.topics), "topics"},
		{float64(r.lanes()), "partitions"},
		{float64(r.events), "events"},
		{float64(r.held) / (1 << 20), "MiB-in-flight"},
		{mib(r.bulk.Heap, r.before.Heap), "MiB-heap-bulk-load"},
		{mib(r.most.Heap, r.before.Heap), "MiB-heap-outage"},
		{mib(r.small.Heap, r.before.Heap), "MiB-reachable-small-event-per-lane"},
		{mib(r.full.Heap, r.before.Heap), "MiB-reachable-outage"},
		{r.total(), "MiB-total"},
		{r.goroutines(), "goroutines"},
		{float64(r.lines), "log-lines"},
		{float64(r.sameLines), "log-lines/topic-reason-min"},
		{r.requests(kmsg.Metadata) / r.took.Seconds(), "metadata-requests/s"},
		{r.requests(kmsg.InitProducerID), "InitProducerId-requests"},
		{r.requests(kmsg.DescribeConfigs), "DescribeConfigs-requests"},
		{r.requests(kmsg.Produce), "Produce-requests"},
		{float64(r.traffic.Connections), "connections-accepted"},
		{r.lost, "connections-lost-or-failed"},
		{r.retries, "retries"},
		{r.cpu.Seconds(), "CPU-s-outage"},
		{r.took.Seconds(), "s-outage"},
		{r.back.Seconds(), "s-to-last-ack"},
		{r.altogether.Seconds(), "s-altogether"},
	}
	if r.othersWell {
		f = append(f, figure{r.healthy.Seconds(), "s-slowest-ack-of-other-brokers"})
	}
	return f
}

// open opens a producer with the relay's defaults.
func (o outage) open(t testing.TB, brokers []string, acks sink.Acks, log *slog.Logger, registry *prometheus.Registry) *sink.Producer {
	t.Helper()
	name, err := schema.ParseTemplate("{aggregatetype}", schema.DefaultMapping())
	if err != nil {
		t.Fatal(err)
	}
	k, err := sink.NewKafka(sink.Config{Brokers: brokers, ClientID: "walpost-test", MaxRequestSize: 1_000_000, Codec: recordbatch.Zstd,
		Record: record.Config{Topic: name, Source: "/walpost/shop/walpost.outbox"}, Logger: log, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := k.Open(ctx, acks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}
