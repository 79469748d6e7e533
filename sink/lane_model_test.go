package sink

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/recordbatch"
)

// journey drives a lane against a partition with faults drawn by chance, and checks the lane's promises on the way.
type journey struct {
	*bench
	r         *rand.Rand
	partition partitionModel
	faults    bool
	limit     int // of our batches

	senders  []*sender // of several brokers
	queued   bool
	ids      int64
	acked    uint64    // events 1 to acked are acked
	rejected uint64    // 0: none
	resent   []byte    // what the next attempt has to be, nil: something else
	delayed  []request // cut off from us, and still on their way to the broker
	strange  bool      // the broker may know other sequences of the producer id than the lane does
	again    bool      // duplicates may be: the lane was renumbered, or the broker has forgotten
	leaked   map[uint64]bool
	meaning  map[[2]int64]uint64 // which event a producer id's sequence stands for
}

func newJourney(t testing.TB, seed uint64, other *recordbatch.Encoder) *journey {
	r := rand.New(rand.NewPCG(seed, 1))
	j := &journey{r: r, faults: true, limit: 200 + r.IntN(3000), ids: 1, leaked: map[uint64]bool{}, meaning: map[[2]int64]uint64{}}
	next := r.Int32N(100)
	if r.IntN(2) == 0 {
		next = 1<<31 - 1 - next // wraps on the way
	}
	j.bench = newBench(t, identity{producer: 1, next: next})
	j.senders = []*sender{j.sender, {encoder: other}}
	j.partition = partitionModel{limit: 400 + r.IntN(3000), compacted: r.IntN(2) == 0, producers: map[int64]*producerModel{}}
	return j
}

// gzip encodes visibly otherwise than the bench's encoder.
func gzip(t testing.TB) *recordbatch.Encoder {
	e, err := recordbatch.NewEncoder(recordbatch.Gzip)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (j *journey) publish() {
	for range 1 + j.r.IntN(12) {
		rec := &recordbatch.Record{Timestamp: 1000 + j.r.Int64N(1000), Key: []byte("k"), Value: make([]byte, j.r.IntN(100))}
		switch j.r.IntN(400) {
		case 0:
			rec.Value = make([]byte, 10_000) // never fits
		case 1:
			rec.Key = nil // a compacted topic refuses it
		}
		size := rec.Size()
		if !j.lane.dirty {
			j.lane.enter(j.lane.of)
		}
		b := j.lane.writable(&j.pool, size+recordbatch.Overhead, j.limit)
		n := b.Append(rec, size)
		j.tx++
		b.count(j.tx, n)
		if j.r.IntN(20) == 0 {
			j.send() // a sender comes while the pass is being published
		}
	}
	j.queued = j.lane.handOver(time.Now()) || j.queued
}

// send lets the sender come to the lane.
func (j *journey) send() {
	if !j.queued {
		return
	}
	head := j.take()
	if head == nil {
		j.queued = false
		return
	}
	r := requestOf(head)
	if j.resent != nil && !bytes.Equal(j.resent, r.wire) {
		j.Fatal("a batch was resent with other bytes")
	}
	j.sameMeaning(r)
	j.settle(head, r, j.deliver(r))
}

// sameMeaning checks that a sequence of a producer id always stands for the same event, for brokers go by the sequence alone.
func (j *journey) sameMeaning(r request) {
	for i, event := range r.events {
		key := [2]int64{r.producer(), int64(after(r.first(), i))}
		if before, ok := j.meaning[key]; ok && before != event {
			j.Fatalf("sequence %d of producer %d stood for event %d, now for %d", key[1], key[0], before, event)
		}
		j.meaning[key] = event
	}
}

// deliver brings a request to the broker, or not, and an answer back, or not.
func (j *journey) deliver(r request) outcome {
	fault := 100
	if j.faults {
		fault = j.r.IntN(30)
	}
	switch fault {
	case 0:
		return outcome{err: sarama.ErrNotLeaderForPartition, named: -1}
	case 1:
		return outcome{err: sarama.ErrNotEnoughReplicas, named: -1}
	case 2:
		return outcome{err: sarama.ErrUnknownTopicOrPartition, named: -1}
	case 3:
		return outcome{err: errCut, named: -1}
	case 4:
		j.delayed = append(j.delayed, r)
		return outcome{err: errCut, named: -1}
	case 5, 6, 7:
		j.appendUnseen(r)
		return outcome{err: errCut, named: -1}
	case 8, 9, 10:
		if o := j.appendUnseen(r); o.err != nil {
			return o
		}
		return outcome{err: [...]error{sarama.ErrRequestTimedOut, sarama.ErrNotEnoughReplicasAfterAppend}[j.r.IntN(2)], named: -1}
	}
	return j.partition.produce(r)
}

// appendUnseen is a produce whose success the lane does not learn of.
func (j *journey) appendUnseen(r request) outcome {
	before := len(j.partition.log)
	o := j.partition.produce(r)
	for _, event := range j.partition.log[before:] {
		j.strange = true
		j.leaked[event] = true
	}
	return o
}

func (j *journey) settle(head *batch, r request, o outcome) {
	step, done := j.lane.settle(o, &j.pool)
	j.resent = nil
	switch step {
	case rest, goOn:
		j.queued = step == goOn
		if done == nil {
			return
		}
		for _, event := range r.events {
			if j.acked++; event != j.acked {
				j.Fatalf("event %d was acked instead of %d", event, j.acked)
			}
			if !j.inLog(event) {
				j.Fatalf("event %d was acked and is not in the log", event)
			}
		}
		j.pool.put(done)
	case resend:
		j.resent = r.wire
		j.sender = j.senders[j.r.IntN(len(j.senders))] // found
		j.lane.on = j.sender
	case renew:
		if judge(o.err) == lost && !j.strange {
			j.Fatalf("%v, although the broker has seen nothing that the lane does not know of", o.err)
		}
		j.strange, j.again = false, true
		j.ids++
		j.lane.renumber(identity{producer: j.ids})
	case reject:
		j.queued = false
		if j.rejected = r.events[0]; j.rejected != j.acked+1 || len(r.events) != 1 || done != head {
			j.Fatalf("events %v rejected behind %d", r.events, j.acked)
		}
	}
}

func (j *journey) inLog(event uint64) bool {
	for _, e := range j.partition.log {
		if e == event {
			return true
		}
	}
	return false
}

// disturb changes the broker.
func (j *journey) disturb() {
	switch j.r.IntN(8) {
	case 0:
		j.partition.limit = 400 + j.r.IntN(3000)
	case 1:
		j.partition.forget()
		j.strange, j.again = true, true
	case 2, 3, 4:
		if len(j.delayed) > 0 {
			j.appendUnseen(j.delayed[0])
			j.delayed = j.delayed[1:]
		}
	}
}

// end lets everything come to rest and looks at the log.
func (j *journey) end() {
	j.faults = false
	for n := 0; j.queued; n++ {
		if j.send(); n > 10_000 {
			j.Fatal("the lane does not come to rest")
		}
	}
	for _, r := range j.delayed {
		j.appendUnseen(r)
	}
	if j.rejected == 0 && j.acked != j.tx {
		j.Fatalf("%d events of %d acked", j.acked, j.tx)
	}
	highest := uint64(0)
	for i, event := range j.partition.log {
		switch {
		case event == highest+1:
			highest = event
			if j.rejected > 0 && event >= j.rejected && !j.leaked[event] {
				j.Fatalf("event %d is in the log although %d was rejected", event, j.rejected)
			}
		case event > highest:
			j.Fatalf("offset %d: event %d, its predecessors up to %d alone being there", i, event, highest)
		case !j.again:
			j.Fatalf("offset %d: event %d a second time", i, event)
		}
	}
	if highest < j.acked {
		j.Fatalf("the log ends with event %d, %d was acked", highest, j.acked)
	}
}

func TestLaneKeepsItsPromises(t *testing.T) {
	seeds := uint64(3000)
	if testing.Short() {
		seeds = 300
	}
	rejected, duplicates := 0, 0
	other := gzip(t)
	seed := uint64(0)
	defer func() {
		if t.Failed() {
			t.Logf("journey %d of %d", seed, seeds)
		}
	}()
	for ; seed < seeds; seed++ {
		j := newJourney(t, seed, other)
		for range 10 + j.r.IntN(60) {
			switch j.r.IntN(6) {
			case 0:
				j.publish()
			case 1:
				j.disturb()
			default:
				j.send()
			}
		}
		j.end()
		if j.rejected > 0 {
			rejected++
		}
		if j.again {
			duplicates++
		}
	}
	// Journeys that meet nothing prove nothing.
	if rejected < int(seeds)/20 || duplicates < int(seeds)/10 || duplicates > int(seeds)*9/10 {
		t.Errorf("of %d journeys %d met a rejection, %d could have duplicates", seeds, rejected, duplicates)
	}
}
