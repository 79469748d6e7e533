// Package brokermodel is a model of one partition of Kafka: which batches it accepts, in what order it checks them, and what it remembers
// about producers. The lane is tested against the model. The sink's TestPartitionModel tests the model against a real broker.
package brokermodel

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/IBM/sarama"
)

// Rules selects the behaviour of a range of broker versions.
type Rules uint8

// The rules.
const (
	Kafka43     Rules = iota // a sequence that it recognises is a success; any other that does not come next is out of order
	Before40                 // also reports duplicates that it no longer recognises, and producers that it does not know
	StartsWith0              // accepts only sequence 0 in a partition that never held a record (KAFKA-15591)
)

// Partition answers batches like one partition of Kafka with two replicas.
type Partition struct {
	rules     Rules
	Limit     int  // max.message.bytes
	Compacted bool // refuses records without a key
	Leader    int
	replicas  [2]replica
	memory    int     // number of the current memory of producers; Forget begins a new one
	Seen      []Entry // what a consumer that misses nothing has read
}

// replica is one broker's copy of the log, and what the broker knows from it.
type replica struct {
	log       []appended
	producers map[int64]producer
}

// producer is what a replica knows about a producer id: its last batches, which it recognises if they come again.
type producer struct {
	epoch  int16
	recent [][2]int32 // first and last sequence of the last five batches
}

// appended is a batch in a log.
type appended struct {
	producer int64
	epoch    int16
	span     [2]int32
	events   []uint64 // 0: another producer's
	memory   int
}

// Entry is an event in the order of the log.
type Entry struct {
	Event    uint64
	Producer int64
	Memory   int
}

// Request is a copy of a batch as it was sent: a request under way does not change when the lane does.
type Request struct {
	Wire     []byte
	Producer int64
	Epoch    int16
	First    int32
	Events   []uint64
	Keys     []bool // whether each event has a key
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

// Answer is a partition's answer.
type Answer struct {
	Err   error   // nil: success
	Named []int32 // indices of the records that are named as the cause
}

// Produce handles a request. isNew reports whether something was appended, on the leader only: Replicate does the rest. Size and records
// are checked before the sequence, so a refused batch may already be in the log.
func (p *Partition) Produce(r Request) (a Answer, isNew bool) {
	refuse := func(err error) (Answer, bool) { return Answer{Err: err}, false }
	switch {
	case r.To != p.Leader:
		return refuse(sarama.ErrNotLeaderForPartition)
	case len(r.Wire) > p.Limit:
		return refuse(sarama.ErrMessageSizeTooLarge)
	}
	var keyless []int32
	for i, key := range r.Keys {
		if !key {
			keyless = append(keyless, int32(i))
		}
	}
	if p.Compacted && keyless != nil {
		return Answer{Err: sarama.ErrInvalidRecord, Named: keyless}, false
	}
	leader := &p.replicas[p.Leader]
	span := [2]int32{r.First, After(r.First, len(r.Events)-1)}
	switch known, ok := leader.producers[r.Producer]; {
	case !ok && p.rules == Before40 && r.First != 0:
		return refuse(sarama.ErrUnknownProducerID)
	case !ok && p.rules == StartsWith0 && r.First != 0 && len(leader.log) == 0:
		return refuse(sarama.ErrOutOfOrderSequenceNumber)
	case !ok: // a producer that is not known may begin with any sequence
	case r.Epoch < known.epoch:
		return refuse(sarama.ErrInvalidProducerEpoch)
	case r.Epoch > known.epoch:
		if r.First != 0 {
			return refuse(sarama.ErrOutOfOrderSequenceNumber)
		}
	case slices.Contains(known.recent, span):
		return Answer{}, false // success, whatever the records are
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
	return Answer{}, true
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

// Remember makes both replicas know a producer's last sequence, as if from earlier events.
func (p *Partition) Remember(producer int64, last int32) {
	p.replicas[p.Leader].append(appended{producer: producer, span: [2]int32{last, last}, events: []uint64{0}, memory: p.memory})
	p.Replicate()
}

// Epoch returns the producer's epoch that the leader knows, and whether it knows the producer.
func (p *Partition) Epoch(producer int64) (int16, bool) {
	known, ok := p.replicas[p.Leader].producers[producer]
	return known.epoch, ok
}

// Replicate copies the leader's log to the follower. Only after that, consumers see the appended events, and a request with acks=all is
// answered.
func (p *Partition) Replicate() {
	leader, follower := &p.replicas[p.Leader], &p.replicas[1-p.Leader]
	for _, a := range leader.log[len(follower.log):] {
		follower.append(a)
		for _, event := range a.events {
			p.Seen = append(p.Seen, Entry{event, a.producer, a.memory})
		}
	}
}

// Move makes the follower the leader. It returns the events that are lost because the follower did not have them.
func (p *Partition) Move() (lost []uint64) {
	old, next := &p.replicas[p.Leader], &p.replicas[1-p.Leader]
	for _, a := range old.log[len(next.log):] {
		lost = append(lost, a.events...)
	}
	*old = replica{slices.Clone(next.log), maps.Clone(next.producers)}
	p.Leader = 1 - p.Leader
	return lost
}

// Forget drops what is known about producers, as brokers do after producer.id.expiration.ms without a batch.
func (p *Partition) Forget() {
	p.memory++
	for i := range p.replicas {
		p.replicas[i].producers = map[int64]producer{}
	}
}

// Recreate deletes and re-creates the topic.
func (p *Partition) Recreate() {
	for i := range p.replicas {
		p.replicas[i].log = nil
	}
	p.Forget()
}

// After returns the sequence n records after s. After the highest sequence, brokers continue with 0.
func After(s int32, n int) int32 {
	for range n {
		if s++; s < 0 {
			s = 0
		}
	}
	return s
}
