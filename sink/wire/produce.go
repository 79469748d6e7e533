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

// Answer is what a broker answered for one part.
type Answer struct {
	Err   error // nil: the batch is in the log
	Named int   // index of the record that the broker blames, -1: none
}

var errNoAnswer = errors.New("the broker's answer leaves the partition out")

// Produce sends one produce request, and calls answered once with an answer for each part, in their order, or with the error that ended
// the wait. An error that it returns means that the request could not be sent: answered is not called then. Such an error has a method
// NotSent, which reports whether nothing was written either.
//
// Parts of one topic stand next to each other, and no batch changes until the answer is there. answered may run in sarama's receiving
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

// unsentError is why a request could not be sent.
type unsentError struct {
	error
	nothing bool // was written: there was no connection, or no login
}

func (e *unsentError) Unwrap() error { return e.error }

// NotSent reports whether nothing was written, so that no broker can have the request.
func (e *unsentError) NotSent() bool { return e.nothing }

// Unsent returns err with a method NotSent that reports true: it came before anything of a request was written.
func Unsent(err error) error { return &unsentError{err, true} }

func answerOf(block *sarama.ProduceResponseBlock) Answer {
	switch {
	case block == nil:
		return Answer{Err: errNoAnswer, Named: -1}
	case block.Err == sarama.ErrNoError:
		return Answer{Named: -1}
	case len(block.RecordErrors) > 0:
		return Answer{Err: block.Err, Named: int(block.RecordErrors[0].BatchIndex)}
	}
	return Answer{Err: block.Err, Named: -1}
}

// Most bytes that a request takes besides its batches, in whatever layout. The two that there are differ by one byte or two for each part:
//
//	head    length key version correlation client [tags]   transaction acks timeout   topics [tags]
//	topic   name partitions [tags]
//	part    partition length [tags]
const (
	headBytes    = 4 + 2 + 2 + 4 + 2 + 2 + 2 + 4 + 4 + 1 // and the client id
	topicBytes   = 2 + 4                                 // and the name
	partBytes    = 4 + 4 + 1
	longestTopic = 249
)

// Size counts the bytes of a request while its parts are gathered. A request is not larger, whatever its version and the order of its parts.
type Size struct {
	bytes int
	topic string // of the last part
}

// NewSize returns the size of a request without parts.
func NewSize(clientID string) Size { return Size{bytes: headBytes + len(clientID)} }

// With returns the size with one more part, whose batch has so many bytes. A topic's name is counted again when parts of another topic came
// in between, although the request has it once: parts are many, and nothing is to be looked up for each of them.
func (s Size) With(topic string, batch int) Size {
	if s.topic != topic {
		s.bytes += topicBytes + len(topic)
	}
	return Size{s.bytes + partBytes + batch, topic}
}

// Bytes returns the size, with the four bytes of the request's length.
func (s Size) Bytes() int { return s.bytes }

// Overhead returns the most bytes that a request with one part takes besides the batch, whatever the topic.
func Overhead(clientID string) int {
	return NewSize(clientID).bytes + topicBytes + longestTopic + partBytes
}
