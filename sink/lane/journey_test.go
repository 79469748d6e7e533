package lane

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/internal/brokermodel"
	"walpost/sink/kafkaerror"
	"walpost/sink/recordbatch"
)

// journey drives a lane against the model of a partition as a script says, and checks the lane's promises on the way.
type journey struct {
	lane      *Lane
	pool      Pool
	senders   [2]*testSender // of the two brokers
	partition brokermodel.Partition
	history   []string
	limit     int  // of our batches
	unsafe    bool // the broker acks what only the leader has: a broken promise, for testing the test

	tx       uint64 // events published
	queued   bool
	ids      int64                 // producer ids given out
	acked    uint64                // events 1 to acked are acked
	rejected uint64                // 0: none
	resent   []byte                // what the next attempt has to be, nil: something else
	delayed  []brokermodel.Request // cut off from us, and still on their way to the broker
	doubt    bool                  // the head may be in the log under its present sequences: an attempt was not answered clearly
	cuts     int                   // attempts in a row whose connection ended
	strange  bool                  // the partition may know other sequences of the producer id than the lane does
	leaked   map[uint64]bool
	meaning  map[[2]int64]uint64 // which event a producer id's sequence stands for
	life     *life               // of the lane's head, nil: there is none
	met      map[cell]int
}

// errCut is the error of a connection that ends before the answer.
var errCut = io.ErrUnexpectedEOF

// requestOf returns the request with a sealed batch. Its events are its transactions.
func requestOf(b *Batch) brokermodel.Request {
	var events []uint64
	var keys []bool
	b.Each(func(_ int, raw recordbatch.Raw, from Origin) {
		tx := from.Tx
		events = append(events, tx)
		keys = append(keys, raw.Record().Key != nil)
	})
	return brokermodel.NewRequest(b.Wire(), events, keys)
}

// brokenPromise ends a journey.
type brokenPromise string

func (j *journey) failf(format string, args ...any) {
	panic(brokenPromise(fmt.Sprintf(format, args...)))
}
func (j *journey) tell(format string, args ...any) {
	j.history = append(j.history, fmt.Sprintf(format, args...))
}

func newJourney(s *script, encoders [2]*recordbatch.Encoder) *journey {
	j := &journey{ids: 1, leaked: map[uint64]bool{}, meaning: map[[2]int64]uint64{}, met: map[cell]int{}}
	j.partition = brokermodel.New(s.rules)
	j.limit, j.unsafe = s.limit, s.unsafe
	// The lane has sent before: the partition knows its last sequence.
	last := int32((int64(s.next) + 1<<31 - 1) % (1 << 31))
	j.partition.Remember(1, last)
	j.lane = New(Identity{Producer: 1, Next: s.next}, &j.pool, nil)
	for i := range j.senders {
		j.senders[i] = &testSender{encoder: encoders[i]}
	}
	j.lane.sender = j.senders[0]
	return j
}

// result is the result of a script.
type result struct {
	broken  string // empty: all promises were kept
	history []string
	met     map[cell]int
	*journey
}

// play plays a script to its end, and then lets everything come to rest.
func play(s *script, encoders [2]*recordbatch.Encoder) (r result) {
	j := newJourney(s, encoders)
	defer func() {
		if p := recover(); p != nil {
			r = result{broken: fmt.Sprint(p), history: j.history, journey: j}
		}
	}()
	for _, a := range s.acts {
		a.do(j)
	}
	j.end()
	return result{history: j.history, met: j.met, journey: j}
}

// write publishes an event as Publish does.
func (j *journey) write(rec *recordbatch.Record, limit int) {
	size := rec.Size()
	if !j.lane.Entered() {
		j.lane.Enter(int(j.lane.partitions))
	}
	j.tx++
	j.lane.Append(rec, size, limit, Origin{Tx: j.tx}, false)
}

func (j *journey) handOver() {
	route, _ := j.lane.HandOver(time.Now())
	j.queued = route || j.queued
}

// send lets the sender take from the lane, and its request meet a fate.
func (j *journey) send(f fate) {
	if !j.queued {
		return
	}
	if j.lane.sender == nil {
		j.lane.sender = j.senders[j.partition.Leader]
		if f.stale {
			j.lane.sender = j.senders[1-j.partition.Leader]
		}
	}
	on := j.lane.sender.(*testSender)
	head, err := j.lane.Take(on, on.encoder, "")
	if err != nil {
		j.failf("take: %v", err)
	}
	if head == nil {
		j.queued = false
		j.tell("the sender finds nothing")
		return
	}
	r := requestOf(head)
	if on == j.senders[1] {
		r.To = 1
	}
	if j.resent != nil && !bytes.Equal(j.resent, r.Wire) {
		j.failf("a batch was sent again with other bytes")
	}
	j.sameMeaning(r)
	if j.life == nil {
		j.life = newLife(r)
	}
	o, what := j.deliver(r, f)
	// A leader that lost its role after the append answers like a broker that never was the leader.
	j.doubt = j.doubt || o.Err == errCut || f.way == answerIsUnclear && o.Err == f.code || o.Err == sarama.ErrNotLeaderForPartition
	if o.Err != errCut {
		j.cuts = 0
	} else if j.cuts++; j.cuts >= 2 { // what the lane's driver concludes is wrong as often as not
		o.Err = &kafkaerror.RequestCut{Times: j.cuts, Err: errCut}
		what += ", once more"
	}
	j.tell("send %s to broker %d: %s", told(r), r.To, what)
	next := j.settle(head, r, o)
	j.history[len(j.history)-1] += " → " + next
	if j.life != nil && (len(j.lane.numbered) == 0 || j.rejected > 0) {
		j.life.end(j.met)
		j.life = nil
	}
}

// sameMeaning checks that a sequence of a producer id always stands for the same event, because brokers compare only the sequence.
func (j *journey) sameMeaning(r brokermodel.Request) {
	for i, event := range r.Events {
		key := [2]int64{r.Producer, int64(brokermodel.After(r.First, i))}
		if before, ok := j.meaning[key]; ok && before != event {
			j.failf("sequence %d of producer %d stood for event %d, now for %d", key[1], key[0], before, event)
		}
		j.meaning[key] = event
	}
}

// deliver passes a request to the broker, or not, and an answer back, or not.
func (j *journey) deliver(r brokermodel.Request, f fate) (Outcome, string) {
	switch f.way {
	case refusedBefore:
		return Outcome{Err: f.code}, f.code.Error()
	case neverArrives:
		j.life.meet(&j.life.ambiguous, lostRequest)
		return Outcome{Err: errCut}, "the connection ends before it arrives"
	case arrivesLate:
		j.delayed = append(j.delayed, r)
		return Outcome{Err: errCut}, "the connection ends, it is still on its way"
	}
	a, isNew := j.partition.Produce(r)
	o := Outcome(a)
	if isNew && f.way != isAnswered {
		j.leak(r)
	}
	if !f.stranded {
		j.partition.Replicate()
	}
	what := describe(o, isNew)
	switch {
	case f.way == answerIsLost:
		if o.Err == nil {
			j.life.meet(&j.life.ambiguous, lostAnswer)
		}
		return Outcome{Err: errCut}, what + ", the answer is lost"
	case f.way == answerIsUnclear && o.Err == nil:
		j.life.meet(&j.life.ambiguous, unclearAnswer)
		return Outcome{Err: f.code}, what + ", but " + f.code.Error()
	case o.Err == nil && !j.unsafe:
		j.partition.Replicate() // a success says so
	}
	return o, what
}

func (j *journey) leak(r brokermodel.Request) {
	for _, event := range r.Events {
		j.leaked[event] = true
	}
}

// settle passes an outcome to the lane, does the next step, and returns a description of it.
func (j *journey) settle(head *Batch, r brokermodel.Request, o Outcome) string {
	step, done := j.lane.Settle(o)
	j.resent = nil
	switch step {
	case Empty, SendNext:
		j.queued = step == SendNext
		if done == nil {
			if j.life.meet(&j.life.refused, refusalOf(o)); j.doubt {
				j.failf("what may be in the log was divided, its sequences kept")
			}
			return fmt.Sprintf("divided into %d", len(j.lane.numbered))
		}
		for _, event := range r.Events {
			if j.acked++; event != j.acked {
				j.failf("event %d was acked instead of %d", event, j.acked)
			}
			if !j.inLog(event) {
				j.failf("event %d was acked and no consumer can read it", event)
			}
		}
		j.pool.Put(done)
		j.doubt = false
		return "acked"
	case Resend:
		j.resent = r.Wire
		return "again"
	case Renew:
		return j.renew(o)
	case Reject:
		j.life.meet(&j.life.refused, refusalOf(o))
		j.queued = false
		if j.rejected = r.Events[0]; j.rejected != j.acked+1 || len(r.Events) != 1 || done != head {
			j.failf("events %v rejected behind %d", r.Events, j.acked)
		}
		return "rejected"
	}
	panic("unknown step")
}

// renew gives the lane a new producer id. The lane must have a reason for it, because each new id makes duplicates possible.
func (j *journey) renew(o Outcome) string {
	switch kafkaerror.Classify(o.Err) {
	case kafkaerror.Lost:
		if !j.strange {
			j.failf("%v, although the broker has seen nothing that the lane does not know of", o.Err)
		}
	case kafkaerror.Refused:
		if j.life.meet(&j.life.refused, refusalOf(o)); !j.doubt {
			j.failf("a new producer id, although nothing of the head can be in the log")
		}
	case kafkaerror.Cut:
		if len(j.lane.numbered) < 2 {
			j.failf("a new producer id for one event, which was not divided")
		}
	default:
		j.failf("a new producer id after %v", o.Err)
	}
	j.strange, j.doubt = false, false
	j.ids++
	j.lane.Renumber(Identity{Producer: j.ids})
	return fmt.Sprintf("numbered anew in %d, producer %d", len(j.lane.numbered), j.ids)
}

func (j *journey) inLog(event uint64) bool {
	for _, s := range j.partition.Seen {
		if s.Event == event {
			return true
		}
	}
	return false
}

// arrive lets the oldest of the requests that were cut off reach its broker.
func (j *journey) arrive(stranded bool) {
	if len(j.delayed) == 0 {
		return
	}
	r := j.delayed[0]
	j.delayed = j.delayed[1:]
	a, isNew := j.partition.Produce(r)
	o := Outcome(a)
	if isNew {
		j.leak(r)
	}
	if !stranded {
		j.partition.Replicate()
	}
	if o.Err == nil && j.life != nil && j.life.has(r) {
		j.life.meet(&j.life.ambiguous, lateRequest)
	}
	j.tell("%s arrives late at broker %d: %s", told(r), r.To, describe(o, isNew))
}

func describe(o Outcome, isNew bool) string {
	switch {
	case isNew:
		return "appended"
	case o.Err == nil:
		return "known already"
	case len(o.Named) > 0:
		return fmt.Sprintf("%v, records %d", o.Err, o.Named)
	}
	return o.Err.Error()
}

func told(r brokermodel.Request) string {
	return fmt.Sprintf("events %d-%d as %d/%d from %d", r.Events[0], r.Events[len(r.Events)-1], r.Producer, r.Epoch, r.First)
}
