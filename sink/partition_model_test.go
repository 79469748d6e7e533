package sink

import (
	"encoding/binary"
	"io"

	"github.com/IBM/sarama"

	"walpost/sink/recordbatch"
)

// partitionModel answers batches as one partition of Kafka 4.3 does: what it checks, in which order, and what it remembers of producers.
type partitionModel struct {
	limit     int  // max.message.bytes
	compacted bool // refuses records without a key
	log       []uint64
	producers map[int64]*producerModel
}

// producerModel is what a partition knows of a producer id: its last batches, which it recognises when they come again.
type producerModel struct {
	epoch  int16
	recent [][2]int32 // first and last sequence of the last five batches
}

// request is a batch as it was sent: what is under way does not change when the lane does.
type request struct {
	wire   []byte
	events []uint64
	keys   []bool // whether there is one
}

func requestOf(b *batch) request {
	r := request{wire: append([]byte(nil), b.Wire()...)}
	b.each(func(_ int, raw recordbatch.Raw, tx uint64) {
		r.events = append(r.events, tx)
		r.keys = append(r.keys, raw.Record().Key != nil)
	})
	return r
}

func (r request) producer() int64 { return int64(binary.BigEndian.Uint64(r.wire[43:])) }
func (r request) epoch() int16    { return int16(binary.BigEndian.Uint16(r.wire[51:])) }
func (r request) first() int32    { return int32(binary.BigEndian.Uint32(r.wire[53:])) }

// produce takes a request in. Size and records are checked before the sequence is looked at, so what is refused may be in the log.
func (p *partitionModel) produce(r request) outcome {
	if len(r.wire) > p.limit {
		return outcome{err: sarama.ErrMessageSizeTooLarge, named: -1}
	}
	for i, key := range r.keys {
		if p.compacted && !key {
			return outcome{err: sarama.ErrInvalidRecord, named: i}
		}
	}
	first := r.first()
	span := [2]int32{first, after(first, len(r.events)-1)}
	known := p.producers[r.producer()]
	switch {
	case known == nil || r.epoch() > known.epoch && first == 0:
		known = &producerModel{epoch: r.epoch()}
		p.producers[r.producer()] = known // any first sequence is taken from a producer that is not known
	case r.epoch() < known.epoch:
		return outcome{err: sarama.ErrInvalidProducerEpoch, named: -1}
	default:
		for _, other := range known.recent {
			if other == span {
				return outcome{named: -1} // success, and nothing is appended, whatever the records are
			}
		}
		if last := known.recent[len(known.recent)-1][1]; r.epoch() > known.epoch || first != after(last, 1) {
			return outcome{err: sarama.ErrOutOfOrderSequenceNumber, named: -1}
		}
	}
	known.recent = append(known.recent, span)
	known.recent = known.recent[max(len(known.recent)-5, 0):]
	p.log = append(p.log, r.events...)
	return outcome{named: -1}
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

// forget loses what is known of producers, as after they were silent for a day, or when the topic was made anew.
func (p *partitionModel) forget() { clear(p.producers) }

var errCut = io.ErrUnexpectedEOF // a connection that ends before the answer
