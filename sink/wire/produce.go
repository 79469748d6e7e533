package wire

import (
	"errors"

	"github.com/IBM/sarama"
)

// Part is one partition's batch in a produce request.
type Part struct {
	Topic     string
	Partition int32
	Batch     []byte // sealed, as recordbatch.Batch.Wire returns it
}

// Answer is a broker's answer for one part.
type Answer struct {
	Err   error   // nil: the batch is in the log
	Named []int32 // indices of the records that the broker names as the cause, as it sent them
}

var errNoAnswer = errors.New("the broker's answer leaves the partition out")

// Produce sends one produce request. It calls answered once: with an answer for each part, in their order, or with the error that ended the
// wait. If Produce returns an error, the request could not be sent, and answered is not called. Such an error has a method NotSent, which
// reports whether nothing at all was written.
//
// Parts of one topic must be next to each other, and the batches must not change before the answer. answered may run in sarama's receiving
// goroutine, so it must not call the broker.
func (l *Link) Produce(parts []Part, answered func([]Answer, error)) error {
	s := l.splicer
	number := s.add(parts)
	err := l.broker.AsyncProduce(s.placeholder(parts, number, l.version), func(res *sarama.ProduceResponse, err error) {
		if err != nil {
			answered(nil, err)
			return
		}
		answers := make([]Answer, len(parts))
		for i, p := range parts {
			answers[i] = answerOf(res.GetBlock(p.Topic, p.Partition))
		}
		answered(answers, nil)
	})
	if err != nil {
		return &unsentError{err, s.drop(number)}
	}
	return nil
}

// unsentError is the error of a request that could not be sent.
type unsentError struct {
	error
	nothing bool // nothing was written: there was no connection, or no login
}

func (e *unsentError) Unwrap() error { return e.error }

// NotSent reports whether nothing was written, so that no broker can have the request.
func (e *unsentError) NotSent() bool { return e.nothing }

// Unsent returns err with a method NotSent that returns true: nothing of a request was written.
func Unsent(err error) error { return &unsentError{err, true} }

func answerOf(block *sarama.ProduceResponseBlock) Answer {
	switch {
	case block == nil:
		return Answer{Err: errNoAnswer}
	case block.Err == sarama.ErrNoError:
		return Answer{}
	}
	a := Answer{Err: block.Err}
	for _, e := range block.RecordErrors {
		a.Named = append(a.Named, e.BatchIndex)
	}
	return a
}

// The maximum number of bytes of a request besides its batches, in any layout. The two layouts differ by one or two bytes for each part:
//
//	head    length key version correlation client [tags]   transaction acks timeout   topics [tags]
//	topic   name partitions [tags]
//	part    partition length [tags]
const (
	headBytes    = 4 + 2 + 2 + 4 + 2 + 2 + 2 + 4 + 4 + 1 // plus the client id
	topicBytes   = 2 + 4                                 // plus the name
	partBytes    = 4 + 4 + 1
	longestTopic = 249
)

// Size counts the bytes of a request while its parts are gathered. The request is never larger, whatever its version and the order of its
// parts.
type Size struct {
	bytes int
	topic string // of the last part
}

// NewSize returns the size of a request without parts.
func NewSize(clientID string) Size { return Size{bytes: headBytes + len(clientID)} }

// With returns the size with one more part, whose batch has batch bytes. A request has the name of each topic once. With counts a name
// again if parts of another topic came in between, because looking up each topic would cost too much: there are many parts.
func (s Size) With(topic string, batch int) Size {
	if s.topic != topic {
		s.bytes += topicBytes + len(topic)
	}
	return Size{s.bytes + partBytes + batch, topic}
}

// Bytes returns the size, including the four bytes of the request's length.
func (s Size) Bytes() int { return s.bytes }

// Overhead returns the maximum number of bytes that a request with one part takes besides the batch, whatever the topic.
func Overhead(clientID string) int {
	return NewSize(clientID).bytes + topicBytes + longestTopic + partBytes
}
