package sink

import (
	"encoding/binary"
	"io"
	"maps"
	"slices"

	"github.com/IBM/sarama"

	"walpost/sink/recordbatch"
)

// brokerRules is what brokers of different ages do differently.
type brokerRules uint8

const (
	kafka43     brokerRules = iota // what is recognised is a success, what is not is out of order
	before40                       // tells of duplicates that it no longer recognises, and of producers that it does not know
	startsWith0                    // takes only sequence 0 into a partition that never held a record (KAFKA-15591)
)

// partitionModel answers batches as one partition of Kafka does, with two replicas: what it checks, in which order, and what it remembers
// of producers. TestPartitionModel holds its answers against a real broker's.
type partitionModel struct {
	rules     brokerRules
	limit     int  // max.message.bytes
	compacted bool // refuses records without a key
	leader    int
	replicas  [2]replica
	memory    int    // number of the partition's present memory of producers
	seen      []seen // what a consumer that never misses anything has read
}

// replica is one broker's copy of the log, with what follows from it.
type replica struct {
	log       []appended
	producers map[int64]producerModel
}

// producerModel is what a replica knows of a producer id: its last batches, which it recognises when they come again.
type producerModel struct {
	epoch  int16
	recent [][2]int32 // first and last sequence of the last five batches
}

// appended is a batch in a log.
type appended struct {
	producer int64
	epoch    int16
	span     [2]int32
	events   []uint64 // 0: somebody else's
	memory   int
}

// seen is an event in the order of the log.
type seen struct {
	event    uint64
	producer int64
	memory   int
}

// request is a batch as it was sent: what is under way does not change when the lane does.
type request struct {
	wire     []byte
	producer int64
	epoch    int16
	first    int32
	events   []uint64
	keys     []bool // whether there is one
	to       int    // the broker
}

func requestOf(b *batch) request {
	be, wire := binary.BigEndian, slices.Clone(b.Wire())
	r := request{wire: wire, producer: int64(be.Uint64(wire[43:])), epoch: int16(be.Uint16(wire[51:])), first: int32(be.Uint32(wire[53:]))}
	b.each(func(_ int, raw recordbatch.Raw, tx uint64) {
		r.events = append(r.events, tx)
		r.keys = append(r.keys, raw.Record().Key != nil)
	})
	return r
}

func newPartitionModel(rules brokerRules) partitionModel {
	p := partitionModel{rules: rules, limit: 1 << 20}
	p.forget()
	return p
}

// produce takes a request in and says whether anything was appended, on the leader alone: replicate does the rest. Size and records are
// checked before the sequence is looked at, so what is refused may be in the log.
func (p *partitionModel) produce(r request) (o outcome, isNew bool) {
	refuse := func(err error) (outcome, bool) { return outcome{err: err, named: -1}, false }
	switch {
	case r.to != p.leader:
		return refuse(sarama.ErrNotLeaderForPartition)
	case len(r.wire) > p.limit:
		return refuse(sarama.ErrMessageSizeTooLarge)
	}
	if i := slices.Index(r.keys, false); p.compacted && i >= 0 {
		return outcome{err: sarama.ErrInvalidRecord, named: i}, false
	}
	leader := &p.replicas[p.leader]
	span := [2]int32{r.first, after(r.first, len(r.events)-1)}
	switch known, ok := leader.producers[r.producer]; {
	case !ok && p.rules == before40 && r.first != 0:
		return refuse(sarama.ErrUnknownProducerID)
	case !ok && p.rules == startsWith0 && r.first != 0 && len(leader.log) == 0:
		return refuse(sarama.ErrOutOfOrderSequenceNumber)
	case !ok: // any first sequence is taken from a producer that is not known
	case r.epoch < known.epoch:
		return refuse(sarama.ErrInvalidProducerEpoch)
	case r.epoch > known.epoch:
		if r.first != 0 {
			return refuse(sarama.ErrOutOfOrderSequenceNumber)
		}
	case slices.Contains(known.recent, span):
		return outcome{named: -1}, false // success, whatever the records are
	default:
		last := known.recent[len(known.recent)-1][1]
		if r.first == after(last, 1) {
			break
		}
		if p.rules == before40 && span[1] <= last {
			return refuse(sarama.ErrDuplicateSequenceNumber)
		}
		return refuse(sarama.ErrOutOfOrderSequenceNumber)
	}
	leader.append(appended{r.producer, r.epoch, span, r.events, p.memory})
	return outcome{named: -1}, true
}

func (r *replica) append(a appended) {
	known := r.producers[a.producer]
	if known.epoch != a.epoch {
		known.recent = nil
	}
	known.epoch = a.epoch
	known.recent = append(slices.Clone(known.recent[max(len(known.recent)-4, 0):]), a.span)
	r.producers[a.producer] = known
	r.log = append(r.log, a)
}

// replicate brings the follower up to the leader: only now consumers see what was appended, and only now acks=all is answered.
func (p *partitionModel) replicate() {
	leader, follower := &p.replicas[p.leader], &p.replicas[1-p.leader]
	for _, a := range leader.log[len(follower.log):] {
		follower.append(a)
		for _, event := range a.events {
			p.seen = append(p.seen, seen{event, a.producer, a.memory})
		}
	}
}

// move makes the follower the leader and returns the events that fell away because it did not have them.
func (p *partitionModel) move() (lost []uint64) {
	old, next := &p.replicas[p.leader], &p.replicas[1-p.leader]
	for _, a := range old.log[len(next.log):] {
		lost = append(lost, a.events...)
	}
	*old = replica{slices.Clone(next.log), maps.Clone(next.producers)}
	p.leader = 1 - p.leader
	return lost
}

// forget loses what is known of producers, as after they were silent for producer.id.expiration.ms.
func (p *partitionModel) forget() {
	p.memory++
	for i := range p.replicas {
		p.replicas[i].producers = map[int64]producerModel{}
	}
}

// recreate is the topic deleted and made anew.
func (p *partitionModel) recreate() {
	for i := range p.replicas {
		p.replicas[i].log = nil
	}
	p.forget()
}

// after is the sequence n records behind s: brokers go on with 0 behind the highest one.
func after(s int32, n int) int32 {
	for range n {
		if s++; s < 0 {
			s = 0
		}
	}
	return s
}

var errCut = io.ErrUnexpectedEOF // a connection that ends before the answer
