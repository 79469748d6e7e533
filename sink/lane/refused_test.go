package lane

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/schema"
	"walpost/sink/internal/brokermodel"
	"walpost/sink/kafkaerror"
	"walpost/sink/recordbatch"
)

// refusals is a lane with a sieve in front of a partition that refuses records without a key. Those park alone.
type refusals struct {
	testing.TB
	lane      *Lane
	pool      Pool
	sender    *testSender
	partition brokermodel.Partition
	ids       int64
	meaning   map[[2]int64]uint64 // which event a producer id's sequence stands for in the log, or may

	acked, aside     []uint64
	requests, sealed int // requests; bytes of the batches that were sealed
	parts            int // batches that the lane had at the same time
}

func newRefusals(t testing.TB) *refusals {
	r := &refusals{TB: t, sender: &testSender{encoder: encoder(t, recordbatch.None)}, partition: brokermodel.New(brokermodel.Kafka43), ids: 1, meaning: map[[2]int64]uint64{}}
	r.partition.Compacted = true
	r.lane = New(Identity{Producer: 1}, &r.pool, r)
	r.lane.sender = r.sender
	return r
}

// Parks, Open, Verdict and Aside make it the lane's sieve.
func (r *refusals) Parks() bool                           { return true }
func (r *refusals) Open() bool                            { return len(r.aside) == 0 }
func (r *refusals) Verdict([]byte, Origin) schema.Verdict { return schema.Send }
func (r *refusals) Aside(*Batch, []schema.Verdict)        { r.Fatal("an event without a key was held back") }

// publish hands over events from..from+count-1 as one batch. Those in bad have no key.
func (r *refusals) publish(from, count int, bad []int) {
	r.lane.Enter(int(r.lane.partitions))
	for i := range count {
		rec := &recordbatch.Record{Timestamp: int64(1000 + i), Key: []byte("k"), Value: fmt.Appendf(nil, "event %d", from+i)}
		if _, found := slices.BinarySearch(bad, i); found {
			rec.Key = nil
		}
		r.lane.Append(rec, rec.Size(), 1<<30, Origin{Tx: uint64(from + i)}, false)
	}
	r.lane.HandOver(time.Now())
}

// run sends until the lane is empty. lost draws whether a request or its answer is lost.
func (r *refusals) run(lost func() (request, answer bool)) {
	for step := SendNext; step != Empty; {
		r.lane.SetSender(r.sender)
		head, err := r.lane.Take(r.sender, r.sender.encoder, "")
		if err != nil {
			r.Fatal(err)
		}
		if head == nil { // a new producer id, and nothing left to send
			return
		}
		req := requestOf(head)
		for i, event := range req.Events {
			key := [2]int64{req.Producer, int64(req.First) + int64(i)}
			if before, ok := r.meaning[key]; ok && before != event {
				r.Fatalf("sequence %d of producer %d stood for event %d, which may be in the log, now for %d", key[1], key[0], before, event)
			}
		}
		if r.requests++; r.requests > 100_000 {
			r.Fatal("the lane does not come to rest")
		}
		r.sealed += head.Len()
		r.parts = max(r.parts, len(r.lane.numbered)+len(r.lane.full))
		o := Outcome{Err: errCut}
		if request, answer := lost(); !request {
			a, _ := r.partition.Produce(req)
			r.partition.Replicate()
			if !answer {
				o = Outcome(a)
			}
		}
		for i, event := range req.Events {
			if o.Class() != kafkaerror.Refused {
				r.meaning[[2]int64{req.Producer, int64(req.First) + int64(i)}] = event
			}
		}
		step = r.settle(req, o)
	}
}

func (r *refusals) settle(req brokermodel.Request, o Outcome) Step {
	step, head := r.lane.Settle(o)
	switch {
	case step == SetAside:
		if len(req.Events) != 1 || req.Keys[0] {
			r.Fatalf("events %v were set aside, with keys %v", req.Events, req.Keys)
		}
		r.aside = append(r.aside, req.Events[0])
		r.pool.Put(head)
		step = r.lane.Next()
	case head != nil:
		r.acked = append(r.acked, req.Events...)
		r.pool.Put(head)
	}
	if step == Renew {
		r.ids++
		r.lane.Renumber(Identity{Producer: r.ids})
	}
	return step
}

// drawBad draws which n of N events are bad.
func drawBad(d *rand.Rand, n, of int) []int {
	bad := d.Perm(of)[:n]
	slices.Sort(bad)
	return bad
}

// check checks that all events but the bad ones are in the log in order, and that the bad ones were set aside in order. twice allows events
// to be in the log twice.
func (r *refusals) check(count int, bad []int, twice bool) {
	r.Helper()
	var good, want, log []uint64
	for i := range count {
		if _, found := slices.BinarySearch(bad, i); found {
			want = append(want, uint64(1+i))
		} else {
			good = append(good, uint64(1+i))
		}
	}
	highest := uint64(0)
	for _, s := range r.partition.Seen {
		if s.Event > highest || !twice {
			log = append(log, s.Event)
			highest = s.Event
		}
	}
	if !slices.Equal(r.acked, good) || !slices.Equal(log, good) || !slices.Equal(r.aside, want) {
		r.Errorf("%d of %d bad: acked %d, in the log %d, set aside %d", len(bad), count, len(r.acked), len(log), len(r.aside))
	}
}

// n bad events in a batch cost 2n+2 requests at most: one that is refused, one for each of them, and one for each run of good events. Each
// byte is compressed twice. The lane never has much more batches than it cuts out at once.
func TestManyRefusedEvents(t *testing.T) {
	d := rand.New(rand.NewPCG(1, 1))
	for _, count := range []int{1, 2, 3, 64, 65, 130, 700, 5000} {
		for _, n := range []int{0, 1, 2, 3, 63, 64, 65, 128, 129, 300, count / 2, count - 1, count} {
			if n > count {
				continue
			}
			r, bad := newRefusals(t), drawBad(d, n, count)
			r.publish(1, count, bad)
			size := r.lane.open.Len()
			r.run(func() (bool, bool) { return false, false })
			r.check(count, bad, false)
			if r.requests > 2*n+2 {
				t.Fatalf("%d of %d bad: %d requests, want at most %d", n, count, r.requests, 2*n+2)
			}
			if most := 2*size + r.requests*recordbatch.HeadLen; r.sealed > most {
				t.Fatalf("%d of %d bad: %d bytes compressed, want at most %d", n, count, r.sealed, most)
			}
			if r.parts > 256 {
				t.Fatalf("%d of %d bad: %d batches at the same time", n, count, r.parts)
			}
		}
	}
}

// Requests and answers are lost while bad events are found. Each event is in the log, in order, or set aside, and no sequence stands for
// two events.
func TestRefusedEventsAmongLostAnswers(t *testing.T) {
	for seed := range uint64(300) {
		d := rand.New(rand.NewPCG(seed, 2))
		count := 1 + d.IntN(300)
		r, bad := newRefusals(t), drawBad(d, d.IntN(count+1), count)
		r.publish(1, count, bad)
		r.partition.Compacted = d.IntN(2) == 0 // otherwise the policy changes while the batch is under way, and part of it may be in the log
		if !r.partition.Compacted {
			bad = nil
		}
		losses := d.IntN(20)
		r.run(func() (bool, bool) {
			if d.IntN(3) > 0 || losses == 0 {
				return false, false
			}
			losses--
			return d.IntN(2) == 0, true
		})
		if r.check(count, bad, true); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// A bad event of a key that is parked meanwhile is not sent. The broker need not name the others of its part again.
func TestSuspectsPassTheSieve(t *testing.T) {
	b, s := sieved(t, nil)
	const count = 192
	b.batchOf(count)
	b.take()
	all := make([]int32, count)
	for i := range all {
		all[i] = int32(i)
	}
	b.lane.Settle(Outcome{Err: sarama.ErrInvalidTimestamp, Named: all})
	for n := range count {
		if n == 1 { // from here on, every third event is held back
			s.hold = map[uint64]schema.Verdict{}
			for i := 3; i < count; i += 3 {
				s.hold[uint64(i)] = schema.Park
			}
		}
		head := b.take()
		if head == nil {
			break
		}
		if head.Count() != 1 {
			t.Fatalf("%d events were sent together, although the broker has named each one", head.Count())
		}
		if step, _ := b.lane.Settle(Outcome{Err: sarama.ErrInvalidTimestamp}); step != SetAside {
			t.Fatalf("step %d", step)
		}
		b.pool.Put(head)
		b.lane.Next()
	}
	if len(s.aside) != len(s.hold) {
		t.Errorf("%d events were held back, want %d", len(s.aside), len(s.hold))
	}
}
