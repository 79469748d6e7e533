package sink

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/schema"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

// BenchmarkSink compares the sink with sarama's AsyncProducer, idempotent and with acks=all, on the same records and the same real broker
// in one run: values of 250 bytes, the key, and the headers of a cloudevents record with two short ones of the row's. Uncompressed, six
// partitions, half a second's events in flight. It reports CPU seconds of this process per million messages (cpu-s/M), messages per
// second, allocations per message, and, for the sink, both CPU figures' ratio; the two take turns, so that a busy machine is busy for
// both.
//
//	go test ./sink -run '^$' -bench 'Sink$' -benchtime 5x -count 5 | tee new.txt; benchstat new.txt
//
// WALPOST_BENCH_MESSAGES is the number of messages per turn, 300,000 if not set.
func BenchmarkSink(b *testing.B) {
	brokers := kafkatest.Brokers(b)
	topic := kafkatest.Name(b)
	kafkatest.Topic(b, brokers, topic, 6, map[string]string{"retention.bytes": "200000000", "segment.bytes": "100000000"})
	messages := 300_000
	if s := os.Getenv("WALPOST_BENCH_MESSAGES"); s != "" {
		var err error
		if messages, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	rows := benchRows(topic)
	lanes, async := newLanesBench(b, brokers, rows), newAsyncBench(b, brokers, topic, rows)
	lanes(50_000) // connections, metadata, buffers
	async(50_000)
	var ours, theirs cost
	for b.Loop() {
		ours.measure(messages, lanes)
		theirs.measure(messages, async)
	}
	b.ReportMetric(ours.cpuPerMillion(), "cpu-s/M")
	b.ReportMetric(ours.allocs/ours.messages, "allocs/msg")
	b.ReportMetric(ours.messages/ours.wall.Seconds(), "msg/s")
	b.ReportMetric(theirs.cpuPerMillion(), "async-cpu-s/M")
	b.ReportMetric(theirs.allocs/theirs.messages, "async-allocs/msg")
	b.ReportMetric(theirs.messages/theirs.wall.Seconds(), "async-msg/s")
	b.ReportMetric(ours.cpuPerMillion()/theirs.cpuPerMillion(), "ratio")
	b.ReportMetric(0, "ns/op") // of both together: says nothing
}

// cost sums up turns.
type cost struct {
	messages, allocs float64
	cpu, wall        time.Duration
}

func (c *cost) cpuPerMillion() float64 { return c.cpu.Seconds() / c.messages * 1e6 }

func (c *cost) measure(messages int, run func(int)) {
	runtime.GC() // the other's garbage is not ours
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, wall := processCPU(), time.Now()
	run(messages)
	c.wall += time.Since(wall)
	c.cpu += processCPU() - cpu
	runtime.ReadMemStats(&after)
	c.messages += float64(messages)
	c.allocs += float64(after.Mallocs - before.Mallocs)
}

// processCPU returns the CPU time that this process has used.
func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for other arguments only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchRows are rows of 10,000 keys with values of 250 bytes like JSON.
func benchRows(topic string) []*schema.Event {
	rows := make([]*schema.Event, 10_000)
	for i := range rows {
		ev := event(topic, fmt.Sprintf("customer-%05d", i), i)
		ev.Values[schema.Headers] = []byte(`{"tenant": "t-1", "trace": "0af7651916cd43dd"}`)
		value := fmt.Appendf(nil, `{"order": %d, "customer": "customer-%05d", "lines": [`, i*7919, i)
		for len(value) < 225 {
			value = fmt.Appendf(value, `{"sku": %d, "n": %d},`, i*31+len(value), len(value)%9)
		}
		ev.Values[schema.Payload] = append(value[:248], ']', '}')
		rows[i] = ev
	}
	return rows
}

// counted is the Acks of the benchmark. It limits the events in flight.
type counted struct {
	acked atomic.Int64
	wake  chan struct{} // after an ack
}

const benchWindow = 20_000

func newLanesBench(b *testing.B, brokers []string, rows []*schema.Event) func(int) {
	acks := &counted{wake: make(chan struct{}, 1)}
	cfg := config(b, brokers)
	cfg.Codec = recordbatch.None
	p := open(b, cfg, acks)
	sent := int64(0)
	wait := func(most int64) {
		for sent-acks.acked.Load() > most {
			<-acks.wake
		}
	}
	return func(messages int) {
		for i := range messages {
			if _, err := p.Publish(rows[i%len(rows)], uint64(i/10)); err != nil {
				b.Fatal(err)
			}
			if sent++; sent%200 == 0 { // about what a read pass brings
				p.Flush(false)
				wait(benchWindow)
			}
		}
		p.Flush(false)
		wait(0)
	}
}

func (c *counted) Acked(runs []schema.Run, _ int) {
	n := int64(0)
	for _, r := range runs {
		n += int64(r.Rows)
	}
	c.acked.Add(n)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *counted) Rejected(_ uint64, err error) { panic(err) }

func newAsyncBench(b *testing.B, brokers []string, topic string, rows []*schema.Event) func(int) {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V2_8_0_0
	cfg.Producer.RequiredAcks = sarama.WaitForAll
	cfg.Producer.Idempotent = true
	cfg.Net.MaxOpenRequests = 1 // idempotence asks for it
	cfg.Producer.Partitioner = sarama.NewMurmur2Partitioner
	cfg.Producer.Compression = sarama.CompressionNone
	cfg.Producer.Flush.Frequency, cfg.Producer.Flush.Bytes = 5*time.Millisecond, 1_000_000 // the best of what was tried for it
	cfg.Producer.Return.Successes = true
	p, err := sarama.NewAsyncProducer(brokers, cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Close() })
	// The same records, composed beforehand, because composing is extra work that only the sink does.
	type message struct {
		key, value []byte
		headers    []sarama.RecordHeader
		at         time.Time
	}
	c := record.NewComposer(record.Config{Source: "/walpost/shop/walpost.outbox"}, func(string) {})
	records := make([]message, len(rows))
	for i, ev := range rows {
		rec, err := c.Compose(ev)
		if err != nil {
			b.Fatal(err)
		}
		m := message{key: rec.Key, value: rec.Value, at: time.UnixMilli(rec.Timestamp)}
		for _, h := range rec.Headers {
			m.headers = append(m.headers, sarama.RecordHeader{Key: []byte(h.Text()), Value: append([]byte{}, h.Value...)})
		}
		records[i] = m
	}
	return func(messages int) {
		tokens := make(chan struct{}, benchWindow)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range messages {
				select {
				case <-p.Successes():
				case err := <-p.Errors():
					panic(err)
				}
				<-tokens
			}
		}()
		for i := range messages {
			r := &records[i%len(records)]
			tokens <- struct{}{}
			p.Input() <- &sarama.ProducerMessage{Topic: topic, Key: sarama.ByteEncoder(r.key), Value: sarama.ByteEncoder(r.value), Headers: r.headers, Timestamp: r.at}
		}
		<-done
	}
}
