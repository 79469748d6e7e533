package kfaketest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"walpost/schema"
	"walpost/sink"
)

// lanesLedger does the relay's part: it limits the bytes in flight, and checks that each lane's events are acked in order. An event's
// transaction is its lane and its number in that lane.
type lanesLedger struct {
	budget int

	mu       sync.Mutex
	used     int
	acked    []int32         // by lane
	handed   []time.Time     // by lane, when its last event was published
	slowest  []time.Duration // by lane
	total    int
	last     time.Time // when the last ack came
	problems []string
	changed  chan struct{}
}

func (l *lanesLedger) Acked(runs []schema.Run, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = time.Now()
	for _, r := range runs {
		lane, event := int(r.Tx>>32), int32(r.Tx)
		if event != l.acked[lane] || r.Rows != 1 {
			l.problem(fmt.Sprintf("lane %d: event %d is acked behind event %d", lane, event, l.acked[lane]-1))
		}
		l.acked[lane]++
		l.slowest[lane] = max(l.slowest[lane], l.last.Sub(l.handed[lane]))
	}
	l.total += len(runs)
	l.used -= bytes
	l.signal()
}

func (l *lanesLedger) Rejected(tx uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem(fmt.Sprintf("lane %d: event %d is rejected: %v", tx>>32, uint32(tx), err))
	l.signal()
}

func (l *lanesLedger) problem(text string) {
	if len(l.problems) < 10 {
		l.problems = append(l.problems, text)
	}
}

func (l *lanesLedger) signal() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// until returns once a condition holds that depends on acks.
func (l *lanesLedger) until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		l.mu.Lock()
		ok, problems := holds(), l.problems
		l.mu.Unlock()
		if len(problems) > 0 {
			t.Fatal(strings.Join(problems, "\n"))
		}
		if ok {
			return
		}
		select {
		case <-l.changed:
		case <-deadline:
			t.Fatalf("%s: not within two minutes, %d events are acked", what, l.total)
		}
	}
}

// workload publishes events, as the relay does.
type workload struct {
	t         testing.TB
	p         *sink.Producer
	acks      *lanesLedger
	published []int32 // by lane
	total     int
	text      []byte // that payloads are taken from
	alike     bool   // all payloads are: they are compressed, and read back, fast
	next      int    // the lane of the trickle's next event
	ev        schema.Event
	key, part []byte
	name      []byte
}

// newWorkload returns a workload for this many lanes, without a producer yet.
func newWorkload(t testing.TB, lanes, budget int) *workload {
	w := &workload{t: t, published: make([]int32, lanes), text: make([]byte, 1<<20),
		acks: &lanesLedger{acked: make([]int32, lanes), handed: make([]time.Time, lanes), slowest: make([]time.Duration, lanes), changed: make(chan struct{}, 1), budget: budget}}
	for i := range w.text { // some of it can be compressed
		w.text[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[rand.IntN(64)]
	}
	return w
}

const (
	smallPayload = 100
	largePayload = 2000
)

// admits reports whether an event with a payload of this size fits into the budget.
func (w *workload) admits(payload int) bool {
	w.acks.mu.Lock()
	defer w.acks.mu.Unlock()
	return w.acks.used+payload+500 <= w.acks.budget
}

// publish publishes an event of a lane. It waits for the budget.
func (w *workload) publish(lane, payload int) {
	if !w.admits(payload) {
		w.p.Flush(false)
		w.acks.until(w.t, "a place in the budget", func() bool { return w.acks.used+payload+500 <= w.acks.budget })
	}
	n := w.published[lane]
	w.name = append(w.name[:0], outageTopic(lane/outagePartitions)...)
	w.key = fmt.Append(w.key[:0], n)
	w.part = fmt.Append(w.part[:0], lane%outagePartitions)
	at := 0
	if !w.alike {
		at = rand.IntN(len(w.text) - payload)
	}
	w.ev = schema.Event{CreatedAt: schema.NoTime, Timestamp: schema.NoTime, CommitTime: time.Now().UnixMicro(), Position: schema.Position{Timeline: 1, LSN: uint64(w.total) + 1}}
	w.ev.Values[schema.ID], w.ev.Values[schema.AggregateID] = w.key, w.key
	w.ev.Values[schema.AggregateType], w.ev.Values[schema.Partition] = w.name, w.part
	w.ev.Values[schema.Type] = []byte("OrderPlaced")
	w.ev.Values[schema.Payload] = w.text[at : at+payload]
	w.acks.mu.Lock()
	w.acks.handed[lane] = time.Now()
	w.acks.mu.Unlock()
	held, err := w.p.Publish(&w.ev, uint64(lane)<<32|uint64(n))
	if err != nil {
		w.t.Fatal(err)
	}
	w.acks.mu.Lock()
	w.acks.used += held // an ack may have been faster
	w.acks.mu.Unlock()
	w.published[lane]++
	w.total++
}

// bulk publishes an almost full batch for one partition of each topic, and a few events for the others.
func (w *workload) bulk() {
	w.alike = true
	defer func() { w.alike = false }()
	for lane := range w.published {
		events := 2
		if lane%outagePartitions == 3 {
			events = 100 // 240 KiB or so: a batch has room for 256
		}
		for range events {
			w.publish(lane, largePayload)
		}
		w.p.Flush(false)
	}
}

// onePerLane publishes a small event for each lane in one pass. It does not end the pass.
func (w *workload) onePerLane() {
	for lane := range w.published {
		w.publish(lane, smallPayload)
	}
}

// trickle publishes this many events a second, one lane after the other, as far as the budget allows.
func (w *workload) trickle(length time.Duration, perSecond float64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	began, done := time.Now(), 0
	for now := began; now.Sub(began) < length; now = <-tick.C {
		for ; done < int(now.Sub(began).Seconds()*perSecond); done++ {
			if w.admits(largePayload) {
				w.publish(w.next, largePayload)
				w.next = (w.next + 1) % len(w.published)
			}
		}
		w.p.Flush(false)
	}
}

// settle waits until all is acked.
func (w *workload) settle(what string) {
	w.t.Helper()
	w.p.Flush(false)
	w.acks.until(w.t, what, func() bool { return w.acks.total == w.total })
}
