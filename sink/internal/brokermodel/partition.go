// Package brokermodel is a model of one partition of Kafka: which batches it takes, in what order it checks them, and what it remembers of
// producers. The lane is tested against the model, and the model against a real broker, by the sink's TestPartitionModel.
package brokermodel

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/IBM/sarama"
)

// Rules are what brokers of different ages do differently.
type Rules uint8

// The rules.
const (
	Kafka43     Rules = iota // what is recognised is a success, what is not is out of order
	Before40                 // tells of duplicates that it no longer recognises, and of producers that it does not know
	StartsWith0              // takes only sequence 0 into a partition that never held a record (KAFKA-15591)
)

// Partition answers batches as one partition of Kafka does, with two replicas.
type Partition struct {
	rules     Rules
	Limit     int  // max.message.bytes
	Compacted bool // refuses records without a key
	Leader    int
	replicas  [2]replica
	memory    int     // number of the partition's present memory of producers
	Seen      []Entry // what a consumer that never misses anything has read
}

// replica is one broker's copy of the log, with what follows from it.
type replica struct {
	log       []appended
	producers map[int64]producer
}

// producer is what a replica knows of a producer id: its last batches, which it recognises when they come again.
type producer struct {
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

// Entry is an event in the order of the log.
type Entry struct {
	Event    uint64
	Producer int64
	Memory   int
}

// Request is a batch as it was sent: what is under way does not change when the lane does.
type Request struct {
	Wire     []byte
	Producer int64
	Epoch    int16
	First    int32
	Events   []uint64
	Keys     []bool // whether there is one
	To       int    // the broker
}

// NewRequest returns the request that carries a sealed batch of these events to the first broker.
func NewRequest(batch []byte, events []uint64, keys []bool) Request {
	be, wire := binary.BigEndian, slices.Clone(batch)
	return Request{Wire: wire, Producer: int64(be.Uint64(wire[43:])), Epoch: int16(be.Uint16(wire[51:])), First: int32(be.Uint32(wire[53:])), Events: events, Keys: keys}
}

// New returns an empty partition that takes batches of up to 1 MiB.
func New(rules Rules) Partition {
	p := Partition{rules: rules, Limit: 1 << 20}
	p.Forget()
	return p
}

// Answer is what a partition answers.
type Answer struct {
	Err   error // nil: success
	Named int   // index of the record that is blamed, -1: none
}

// Produce takes a request in and reports whether anything was appended, on the leader alone: Replicate does the rest. Size and records are
// checked before the sequence is looked at, so what is refused may be in the log.
func (p *Partition) Produce(r Request) (a Answer, isNew bool) {
	refuse := func(err error) (Answer, bool) { return Answer{Err: err, Named: -1}, false }
	switch {
	case r.To != p.Leader:
		return refuse(sarama.ErrNotLeaderForPartition)
	case len(r.Wire) > p.Limit:
		return refuse(sarama.ErrMessageSizeTooLarge)
	}
	if i := slices.Index(r.Keys, false); p.Compacted && i >= 0 {
		return Answer{Err: sarama.ErrInvalidRecord, Named: i}, false
	}
	leader := &p.replicas[p.Leader]
	span := [2]int32{r.First, After(r.First, len(r.Events)-1)}
	switch known, ok := leader.producers[r.Producer]; {
	case !ok && p.rules == Before40 && r.First != 0:
		return refuse(sarama.ErrUnknownProducerID)
	case !ok && p.rules == StartsWith0 && r.First != 0 && len(leader.log) == 0:
		return refuse(sarama.ErrOutOfOrderSequenceNumber)
	case !ok: // any first sequence is taken from a producer that is not known
	case r.Epoch < known.epoch:
		return refuse(sarama.ErrInvalidProducerEpoch)
	case r.Epoch > known.epoch:
		if r.First != 0 {
			return refuse(sarama.ErrOutOfOrderSequenceNumber)
		}
	case slices.Contains(known.recent, span):
		return Answer{Named: -1}, false // success, whatever the records are
	default:
		last := known.recent[len(known.recent)-1][1]
		if r.First == After(last, 1) {
			break
		}
		if p.rules == Before40 && span[1] <= last {
			return refuse(sarama.ErrDuplicateSequenceNumber)
		}
		return refuse(sarama.ErrOutOfOrderSequenceNumber)
	}
	leader.append(appended{r.Producer, r.Epoch, span, r.Events, p.memory})
	return Answer{Named: -1}, true
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

// Remember lets both replicas know a producer's last sequence, from before everything else.
func (p *Partition) Remember(producer int64, last int32) {
	p.replicas[p.Leader].append(appended{producer: producer, span: [2]int32{last, last}, events: []uint64{0}, memory: p.memory})
	p.Replicate()
}

// Epoch returns the epoch that the leader knows a producer by, if it knows it.
func (p *Partition) Epoch(producer int64) (int16, bool) {
	known, ok := p.replicas[p.Leader].producers[producer]
	return known.epoch, ok
}

// Replicate brings the follower up to the leader: only now consumers see what was appended, and only now acks=all is answered.
func (p *Partition) Replicate() {
	leader, follower := &p.replicas[p.Leader], &p.replicas[1-p.Leader]
	for _, a := range leader.log[len(follower.log):] {
		follower.append(a)
		for _, event := range a.events {
			p.Seen = append(p.Seen, Entry{event, a.producer, a.memory})
		}
	}
}

// Move makes the follower the leader and returns the events that fell away because it did not have them.
func (p *Partition) Move() (lost []uint64) {
	old, next := &p.replicas[p.Leader], &p.replicas[1-p.Leader]
	for _, a := range old.log[len(next.log):] {
		lost = append(lost, a.events...)
	}
	*old = replica{slices.Clone(next.log), maps.Clone(next.producers)}
	p.Leader = 1 - p.Leader
	return lost
}

// Forget loses what is known of producers, as after they were silent for producer.id.expiration.ms.
func (p *Partition) Forget() {
	p.memory++
	for i := range p.replicas {
		p.replicas[i].producers = map[int64]producer{}
	}
}

// Recreate is the topic deleted and made anew.
func (p *Partition) Recreate() {
	for i := range p.replicas {
		p.replicas[i].log = nil
	}
	p.Forget()
}

// After returns the sequence n records behind s: brokers go on with 0 behind the highest one.
func After(s int32, n int) int32 {
	for range n {
		if s++; s < 0 {
			s = 0
		}
	}
	return s
}
