package kfaketest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/schema"
	"walpost/sink"
	"walpost/sink/record"
	"walpost/sink/recordbatch"
)

var seed = flag.Uint64("seed", 0, "of the faults; 0: those of every run")

// ledger records the producer's reports. Each event is a transaction of its own.
type ledger struct {
	mu       sync.Mutex
	acked    []int // in order
	rejected map[int]error
	changed  chan struct{}
}

func (l *ledger) Acked(runs []schema.Run, _ int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range runs {
		l.acked = append(l.acked, int(r.Tx))
	}
	l.signal()
}

func (l *ledger) Rejected(tx uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rejected[int(tx)] = err
	l.signal()
}

func (l *ledger) signal() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// wait returns once this many events are acked and rejected.
func (l *ledger) wait(t *testing.T, acked, rejected int) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		l.mu.Lock()
		a, r := len(l.acked), len(l.rejected)
		l.mu.Unlock()
		if a >= acked && r >= rejected {
			return
		}
		select {
		case <-l.changed:
		case <-deadline:
			t.Fatalf("after a minute %d of %d events are acked, %d of %d rejected", a, acked, r, rejected)
		}
	}
}

func open(t *testing.T, brokers []string, topic string, acks sink.Acks) *sink.Producer {
	t.Helper()
	return openLogged(t, brokers, topic, acks, slog.New(slog.DiscardHandler))
}

func openLogged(t *testing.T, brokers []string, topic string, acks sink.Acks, logger *slog.Logger) *sink.Producer {
	t.Helper()
	name, err := schema.ParseTemplate(topic, schema.DefaultMapping())
	if err != nil {
		t.Fatal(err)
	}
	k, err := sink.NewKafka(sink.Config{Brokers: brokers, ClientID: "walpost-test", MaxRequestSize: 2000, Codec: recordbatch.None,
		Record: record.Config{Topic: name, Source: "/walpost/shop/walpost.outbox"}, Logger: logger, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := k.Open(ctx, acks)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// event makes event n, which belongs to partition n modulo their number.
func event(n int) *schema.Event {
	ev := &schema.Event{CreatedAt: schema.NoTime, Timestamp: schema.NoTime, CommitTime: time.Now().UnixMicro(), Position: schema.Position{Timeline: 1, LSN: uint64(n) + 1}}
	ev.Values[schema.ID] = fmt.Append(nil, n)
	ev.Values[schema.AggregateType] = []byte("order")
	ev.Values[schema.AggregateID] = fmt.Append(nil, n)
	ev.Values[schema.Partition] = fmt.Append(nil, n%partitions)
	ev.Values[schema.Type] = []byte("OrderPlaced")
	ev.Values[schema.Payload] = fmt.Appendf(nil, `{"number": %d}`, n)
	return ev
}

// Whatever a broker answers, and whatever happens to the connection: each partition's log has its events in order of first appearance. It
// has every acked event. It has no rejected event, and no event behind a rejected one. An event comes twice only if the producer could not
// know about the first time and had to take a new producer id.
func TestEveryAnswer(t *testing.T) {
	alike := func(codes []int16) (list []string) {
		for _, c := range codes {
			list = append(list, fmt.Sprint("code ", c))
		}
		return list
	}
	refusals := func(named bool, codes []int16) (poison []refusal, met []string) { // one for each partition
		for _, code := range codes {
			r := refusal{code, named}
			poison, met = append(poison, r), append(met, fmt.Sprintf("refused %d, named %t", r.code, named))
		}
		return poison, met
	}
	named, namedMet := refusals(true, codesRefused)
	unnamed, unnamedMet := refusals(false, codesRefused)
	for i, test := range []struct {
		name   string
		faults faults
		twice  bool // duplicates may be
		poison []refusal
		met    []string // what has to come
	}{
		{name: "codes before the append", faults: faults{before: 20}, met: alike(codesBefore)},
		{name: "codes after the append", faults: faults{after: 30}, met: append(alike(codesAfter), "known already")},
		{name: "connections die", faults: faults{neverArrives: 8, arrivesLate: 8, answerIsLost: 8}, met: []string{"never arrives", "arrives late", "answer is lost", "known already"}},
		{name: "leaders move", faults: faults{moves: 20, answerIsLost: 8, after: 8}, met: []string{"leader moved", "the broker's own 6", "answer is lost", "known already"}},
		{name: "refused for a while", faults: faults{refuses: 20}, met: alike(codesRefused)},
		{name: "refused for a while and unclear", faults: faults{refuses: 15, after: 15, answerIsLost: 5, arrivesLate: 5}, twice: true, met: append(alike(codesRefused), "answer is lost")},
		{name: "refused for good by name", faults: faults{before: 5}, poison: named, met: namedMet},
		{name: "refused for good", faults: faults{before: 5}, poison: unnamed, met: unnamedMet},
		{name: "the topic is re-created", faults: faults{madeAnew: 4, before: 5}, met: []string{"topic re-created"}},
		{name: "state is lost", faults: faults{gaps: 15}, met: alike(codesLost)},
		{name: "all at once", faults: faults{neverArrives: 3, arrivesLate: 3, answerIsLost: 3, before: 5, after: 5, refuses: 5, moves: 5, madeAnew: 2, gaps: 3}, twice: true,
			met: []string{"never arrives", "arrives late", "answer is lost", "leader moved", "topic re-created"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := *seed
			if n == 0 {
				n = uint64(i) + 1
			}
			t.Logf("seed %d", n)
			b := newBroker(t, n, test.faults)
			acks := &ledger{rejected: map[int]error{}, changed: make(chan struct{}, 1)}
			p := open(t, b.cluster.ListenAddrs(), topic, acks)
			defer p.Close()
			const at, least, most = 1500, 2000, 40_000
			for i, r := range test.poison {
				b.poison[at+i] = r
			}
			count := 0
			for ; count < least || test.poison == nil && count < most && !b.hasMet(test.met); count++ {
				if _, err := p.Publish(event(count), uint64(count)); err != nil {
					t.Fatal(err)
				}
				if count%23 == 0 {
					p.Flush(false)
				}
				if count%100 == 99 && (count < at || test.poison == nil) { // so that there are many requests
					p.Flush(false)
					acks.wait(t, count-50, 0)
				}
			}
			p.Flush(false)
			want := count
			if test.poison != nil {
				want = at
			}
			b.mu.Lock()
			b.calm = true
			b.mu.Unlock()
			acks.wait(t, want, len(test.poison))
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			b.check(t, acks, want, test.twice)
			if !b.hasMet(test.met) {
				t.Errorf("of %v not all came", test.met)
			}
			t.Logf("%d events; %v; %d were appended without a clear word", count, b.met, len(b.leaked))
		})
	}
}

// check checks the logs and the reports.
func (b *broker) check(t *testing.T, acks *ledger, want int, twice bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.late) > 0 {
		b.bring(b.late[0].node, b.late[0].req, func(int32) int16 { return untold })
		b.late = b.late[1:]
	}
	if len(acks.acked) != want || len(acks.rejected) != len(b.poison) {
		t.Fatalf("%d events are acked, want %d; %d rejected, want %d", len(acks.acked), want, len(acks.rejected), len(b.poison))
	}
	last := [partitions]int{-partitions, 1 - partitions, 2 - partitions, 3 - partitions}
	for _, n := range acks.acked {
		if p := n % partitions; n != last[p]+partitions {
			t.Fatalf("event %d is acked after event %d", n, last[p])
		}
		last[n%partitions] = n
	}
	for n, err := range acks.rejected {
		var bad *record.BadEvent
		if r, ok := b.poison[n]; !ok || !errors.As(err, &bad) || !errors.Is(err, sarama.KError(r.code)) {
			t.Errorf("event %d is rejected: %v", n, err)
		}
	}
	duplicates := 0
	for p, log := range b.logs {
		next, seen := p, map[entry]bool{}
		for _, r := range log {
			switch {
			case r.event == next:
				next += partitions
			case r.event > next:
				t.Fatalf("partition %d: event %d comes before event %d", p, r.event, next)
			case !b.leaked[r.event]:
				t.Fatalf("partition %d: event %d comes twice, although the producer was told of the first time", p, r.event)
			case seen[r]:
				t.Fatalf("partition %d: event %d comes twice by producer %d", p, r.event, r.producer)
			default:
				duplicates++
			}
			seen[r] = true
		}
		if next != last[p]+partitions {
			t.Errorf("partition %d: the log ends before event %d, the last that was acked is %d", p, next, last[p])
		}
	}
	if duplicates > 0 && !twice {
		t.Errorf("%d duplicates", duplicates)
	}
	b.compare(t)
	t.Logf("%d duplicates", duplicates)
}

// compare reads the topic as consumers do, and compares it with what was recorded.
func (b *broker) compare(t *testing.T) {
	offsets := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		offsets[p] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.cluster.ListenAddrs()...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var want, got [partitions][]string
	missing := 0
	for p := range want {
		for _, r := range b.logs[p][b.since[p]:] {
			want[p] = append(want[p], fmt.Sprint(r.event))
			missing++
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for missing > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d records are missing", missing)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got[r.Partition] = append(got[r.Partition], string(r.Key))
			missing--
		})
	}
	for p := range want {
		if !slices.Equal(got[p], want[p]) {
			t.Errorf("partition %d: consumers read %s", p, strings.Join(got[p], " "))
		}
	}
}
