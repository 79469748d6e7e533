package sink

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/kafkatest"
	"walpost/schema"
	"walpost/sink/record"
)

// parkingLedger is a ledger that parks: the events of a (topic, key) from the first one that is refused.
type parkingLedger struct {
	*ledger
	noTopics
	guard   sync.Mutex
	keys    map[string]bool
	letters []*schema.DeadLetter     // in the order in which they were parked
	before  map[schema.Position]bool // events that were refused before
}

func newParkingLedger() *parkingLedger {
	return &parkingLedger{ledger: newLedger(), keys: map[string]bool{}}
}

func (l *parkingLedger) Parks() bool { return true }

func (l *parkingLedger) Refused(at schema.Position, tx uint64) bool {
	return tx&schema.ReplayTx != 0 || !l.before[at]
}

func (l *parkingLedger) Sifting() bool {
	l.guard.Lock()
	defer l.guard.Unlock()
	return len(l.letters) > 0
}

func (l *parkingLedger) Verdict(topic string, key []byte, _ schema.Position, _ uint64) schema.Verdict {
	l.guard.Lock()
	defer l.guard.Unlock()
	if key != nil && l.keys[topic+"/"+string(key)] {
		return schema.Park
	}
	return schema.Send
}

func (l *parkingLedger) Park(letters []*schema.DeadLetter) {
	l.guard.Lock()
	for _, d := range letters {
		l.letters = append(l.letters, d)
		if d.Key != nil {
			l.keys[d.Topic+"/"+string(d.Key)] = true
		}
	}
	l.guard.Unlock()
	for _, d := range letters {
		l.Acked([]schema.Run{{Tx: d.Tx, Rows: 1}}, d.Held)
	}
}

// parked returns the ids of the events that were refused themselves, in the order in which they were parked.
func (l *parkingLedger) parked() (ids []string) {
	l.guard.Lock()
	defer l.guard.Unlock()
	for _, d := range l.letters {
		if d.Head {
			ids = append(ids, string(d.EventID))
		}
	}
	return ids
}

// produceRequests returns how many produce requests were answered.
func produceRequests(t testing.TB, cfg Config) int {
	t.Helper()
	families, err := cfg.Registerer.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "walpost_publish_duration_seconds" {
			return int(f.GetMetric()[0].GetHistogram().GetSampleCount())
		}
	}
	return 0
}

// A broker names several records of a batch, in disorder and with some that the batch does not have. Each one is sent alone, and parked only
// if the broker refuses it alone too. One of them is accepted.
func TestBrokerNamesSeveralRecords(t *testing.T) {
	acks := newParkingLedger()
	b, p := openFlowing(t, 1, acks)

	answer := func(code sarama.KError, named ...int32) any {
		block := &sarama.ProduceResponseBlock{Err: code}
		for _, i := range named {
			block.RecordErrors = append(block.RecordErrors, sarama.ProduceResponseRecordError{BatchIndex: i})
		}
		return sarama.NewMockWrapper(&sarama.ProduceResponse{Version: produceVersion, Blocks: map[string]map[int32]*sarama.ProduceResponseBlock{"orders": {0: block}}})
	}
	const events = 100
	b.answer("ProduceRequest", sarama.NewMockSequence(
		answer(sarama.ErrInvalidRecord, 70, 20, math.MaxInt32, 21, 20, -1, 50, events, math.MinInt32),
		answer(sarama.ErrNoError),          // 0-19
		answer(sarama.ErrInvalidRecord),    // 20
		answer(sarama.ErrInvalidRecord, 0), // 21
		answer(sarama.ErrNoError),          // 22-49
		answer(sarama.ErrNoError),          // 50 was named, and is accepted
		answer(sarama.ErrNoError),          // 51-69
		answer(sarama.ErrInvalidRecord, 0), // 70
		answer(sarama.ErrNoError),          // 71-99
	))
	before := asked[*sarama.ProduceRequest](b)
	for i := 1; i <= events; i++ {
		publish(t, p, event("orders", fmt.Sprint("k-", i), i), uint64(i))
	}
	p.Flush(false)
	acks.wait(t, 1+events, 0)
	if n := asked[*sarama.ProduceRequest](b) - before; n != 9 {
		t.Errorf("%d requests, want 9", n)
	}
	if got := acks.parked(); !slices.Equal(got, []string{"00000021", "00000022", "00000071"}) {
		t.Errorf("parked %v", got)
	}
	if !slices.IsSorted(acks.order) {
		t.Errorf("reported %v", acks.order)
	}
}

// Many events of a batch are refused by a real broker. They are parked in order, all others are in the log in order, and the number of
// requests grows with the number of refused events only.
func TestManyEventsOfABatchAreRefused(t *testing.T) {
	t.Parallel()
	brokers := kafkatest.Brokers(t)
	for _, test := range []struct {
		name  string
		topic map[string]string
		spoil func(*schema.Event)
	}{
		{"no key, compacted topic", map[string]string{"cleanup.policy": "compact"}, func(ev *schema.Event) { ev.Values[schema.AggregateID] = nil }},
		{"timestamp too old", map[string]string{"message.timestamp.before.max.ms": "3600000"},
			func(ev *schema.Event) { ev.Timestamp = time.Now().Add(-2 * time.Hour).UnixMicro() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			topic := kafkatest.Name(t)
			kafkatest.Topic(t, brokers, topic, 1, test.topic)
			acks := newParkingLedger()
			cfg := config(t, brokers)
			p := open(t, cfg, acks)
			publish(t, p, event(topic, "k", 0), 0)
			p.Flush(false)
			acks.wait(t, 1, 0)
			before := produceRequests(t, cfg)
			const events = 600
			var bad, good []string
			for i := 1; i < events; i++ {
				ev := event(topic, fmt.Sprint("k-", i), i)
				ev.Values[schema.Partition] = []byte("0")
				if i%5 == 2 || i%50 == 0 || i > 590 {
					test.spoil(ev)
					bad = append(bad, string(ev.Values[schema.ID]))
				} else {
					good = append(good, string(ev.Values[schema.ID]))
				}
				publish(t, p, ev, uint64(i))
			}
			p.Flush(false)
			acks.wait(t, events, 0)
			if n := produceRequests(t, cfg) - before; n > 2*len(bad)+2+2 { // the events may be in up to two batches
				t.Errorf("%d requests for %d refused events", n, len(bad))
			}
			if got := acks.parked(); !slices.Equal(got, bad) {
				t.Errorf("parked %v, want %v", got, bad)
			}
			if log := logged(t, brokers, topic, 1+len(good))[0]; !slices.Equal(log[1:], good) {
				t.Errorf("in the log: %v, want %v", log[1:], good)
			}
		})
	}
}

// Each refusal counts, also that of an event that was given back, but not a second one of an event that is delivered again.
func TestRefusalsAreCountedOnce(t *testing.T) {
	b := newScripted(t, "orders", 1)
	acks := newParkingLedger()
	cfg := config(t, []string{b.Addr()})
	p := open(t, cfg, acks)
	counted := func(code string, want float64) {
		t.Helper()
		if n, _ := sample(t, cfg, "walpost_events_failed_total", "orders", code); n != want {
			t.Errorf("%v events counted as %s, want %v", n, code, want)
		}
	}
	again := map[schema.Position]bool{}
	invalid := func(i int) {
		ev := event("orders", fmt.Sprint(i), i)
		ev.Values[schema.Headers] = []byte("[]")
		again[ev.Position] = true
		publish(t, p, ev, uint64(i))
		p.Flush(false)
	}
	invalid(1)
	invalid(2)
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrInvalidTimestamp))
	large := event("orders", "3", 3)
	again[large.Position] = true
	publish(t, p, large, 3)
	p.Flush(false)
	acks.wait(t, 3, 0)
	counted("invalid_event", 2)
	counted("invalid_timestamp", 1)

	acks.guard.Lock()
	letters := slices.Clone(acks.letters)
	acks.before, acks.keys = again, map[string]bool{}
	acks.guard.Unlock()
	invalid(1)
	invalid(2)
	publish(t, p, large, 3)
	p.Flush(false)
	acks.wait(t, 6, 0)
	counted("invalid_event", 2)
	counted("invalid_timestamp", 1)

	for _, l := range letters {
		l.Tx |= schema.ReplayTx
	}
	acks.guard.Lock()
	acks.keys = map[string]bool{}
	acks.guard.Unlock()
	p.Replay(letters, false)
	acks.wait(t, 9, 0)
	counted("invalid_event", 4)
	counted("invalid_timestamp", 2)
}

// A record of profile debezium does not have the event's type. The dead letters of a refused event and of one that waits behind it have it
// nevertheless, as those of events that flow again and are refused then, and so has the error of a sink that does not park.
func TestRefusedEventHasItsType(t *testing.T) {
	b := newScripted(t, "orders", 2)
	acks := newParkingLedger()
	cfg := config(t, []string{b.Addr()})
	cfg.Record.Profile = record.Debezium
	p := open(t, cfg, acks)
	b.answer("ProduceRequest", produceAnswer(t).SetError("orders", 0, sarama.ErrMessageSizeTooLarge))
	ev := func(i int, typ string, partition string) *schema.Event {
		ev := event("orders", "k", i)
		ev.Values[schema.Type], ev.Values[schema.Partition] = []byte(typ), []byte(partition)
		return ev
	}
	publish(t, p, ev(1, "Refused", "0"), 1) // they wait for their topic
	publish(t, p, ev(2, "", "0"), 2)
	p.Flush(false)
	acks.wait(t, 2, 0)
	publish(t, p, ev(3, "Behind", "0"), 3)
	p.Flush(false)
	acks.wait(t, 3, 0)
	types := func() (list []string) {
		acks.guard.Lock()
		defer acks.guard.Unlock()
		for _, l := range acks.letters {
			list = append(list, string(l.Type))
		}
		return list
	}
	if got := types(); !slices.Equal(got, []string{"Refused", "orders", "Behind"}) {
		t.Errorf("types %q", got)
	}
	acks.guard.Lock()
	letters := slices.Clone(acks.letters[2:])
	acks.letters, acks.keys = nil, map[string]bool{}
	acks.guard.Unlock()
	until(t, "the key flows again", func() bool {
		return p.Resume(letters[0], func(func([]*schema.DeadLetter) bool) ([]*schema.DeadLetter, bool) { return letters, true })
	})
	acks.wait(t, 4, 0)
	if got := types(); !slices.Equal(got, []string{"Behind"}) {
		t.Errorf("types %q of what flows again", got)
	}

	halting := newLedger()
	cfg.Registerer = prometheus.NewRegistry()
	p = open(t, cfg, halting)
	publish(t, p, ev(5, "Refused", "0"), 5)
	p.Flush(false)
	halting.wait(t, 0, 1)
	if e := halting.rejection(t, 5); e.Type != "Refused" {
		t.Errorf("the error has type %q: %v", e.Type, e)
	}
}
