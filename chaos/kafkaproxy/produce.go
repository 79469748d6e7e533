package kafkaproxy

import (
	"bufio"
	"encoding/binary"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// course is what happens to a request.
type course uint8

const (
	carried    course = iota // it goes to the broker, and an answer is expected
	unanswered               // it goes to the broker, which gives no answer
	answered                 // it does not go to the broker: the answer is in the exchange
	held                     // it does not go to the broker yet
)

// meet decides what happens to a produce request, of which nothing was consumed
// from the reader yet. After a held request, only faults that hold requests
// apply.
func (l *link) meet(x *exchange, r *bufio.Reader, kept bool) (course, error) {
	if newest := new(kmsg.ProduceRequest).MaxVersion(); x.version < 0 || x.version > newest {
		return 0, malformedf("read a produce request: the proxy does not know version %d", x.version)
	}
	bodyAt, acks, err := produceHead(peek(r, 4+x.size), x.version)
	switch {
	case errors.Is(err, errShort) || errors.Is(err, bufio.ErrBufferFull):
		return 0, malformedf("read the head of a produce request: %w", err)
	case err != nil:
		return 0, ending(err, 1)
	case acks == 0: // there is no answer to change, and the sender expects none
		return unanswered, nil
	}
	f := l.broker.cluster.meet(l.broker, produceKey, func(k kind) bool { return k == holding || !kept })
	if f == nil || f.kind == masking || f.kind == swallowing {
		x.fault = f
		return carried, nil
	}
	frame, err := l.whole(r, 4+x.size, l.up)
	if err != nil {
		f.restore()
		return 0, err
	}
	if f.kind == holding {
		l.broker.cluster.keep(&heldRequest{broker: l.broker, request: x.request, frame: frame})
		f.spend()
		return held, nil
	}
	if x.own, err = refusal(x, frame[bodyAt:], f.code); err != nil {
		f.restore()
		return 0, err
	}
	x.fault = f
	return answered, nil
}

// refusal returns the answer to a produce request with the same error for all
// of its partitions.
func refusal(x *exchange, body []byte, code int16) ([]byte, error) {
	q := kmsg.NewPtrProduceRequest()
	q.SetVersion(x.version)
	if err := q.UnsafeReadFrom(body); err != nil {
		return nil, malformedf("read a produce request of version %d: %w", x.version, err)
	}
	answer := kmsg.NewPtrProduceResponse()
	answer.SetVersion(x.version)
	for _, topic := range q.Topics {
		t := kmsg.NewProduceResponseTopic()
		t.Topic, t.TopicID = topic.Topic, topic.TopicID
		for _, partition := range topic.Partitions {
			p := kmsg.NewProduceResponseTopicPartition()
			p.Partition = partition.Partition
			refuse(&p, code)
			t.Partitions = append(t.Partitions, p)
		}
		answer.Topics = append(answer.Topics, t)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 4, 128), uint32(x.correlation))
	if answer.IsFlexible() {
		frame = append(frame, 0) // no tags
	}
	frame = answer.AppendTo(frame)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame, nil
}

// refuse changes a partition's answer to the one that a broker gives with an
// error.
func refuse(p *kmsg.ProduceResponseTopicPartition, code int16) {
	p.ErrorCode, p.BaseOffset, p.LogAppendTime, p.LogStartOffset = code, -1, -1, -1
}

// spoil applies the exchange's fault to a broker's answer, and reports whether
// the answer was changed. The fault does not apply to an answer without any
// success.
func (x *exchange) spoil(answer *kmsg.ProduceResponse) (bool, error) {
	if x.fault == nil {
		return false, nil
	}
	succeeded := false
	for i := range answer.Topics {
		for j := range answer.Topics[i].Partitions {
			p := &answer.Topics[i].Partitions[j]
			if p.ErrorCode != 0 {
				continue
			}
			succeeded = true
			if x.fault.kind == masking {
				refuse(p, x.fault.code)
			}
		}
	}
	switch {
	case !succeeded:
		x.fault.restore()
		x.fault = nil
	case x.fault.kind == swallowing:
		return false, errSwallowed
	}
	return succeeded, nil
}
