package lane

import (
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/IBM/sarama"
)

// Only success removes a batch from its lane. After any other answer, however often it comes, the batch stays the head, whole, and the
// batches behind it wait. Only a single event that Kafka refuses is reported, and it stays too.
func TestNoErrorDropsABatch(t *testing.T) {
	answers := []error{io.EOF, errNoAnswer, errCutOff}
	for code := range sarama.KError(140) {
		if code != sarama.ErrNoError && code != sarama.ErrDuplicateSequenceNumber { // which says that it is there
			answers = append(answers, code)
		}
	}
	answers = append(answers, sarama.ErrUnknown)
	for _, answer := range answers {
		b := newBench(t, Identity{Producer: 1})
		b.batchOf(3)
		b.batchOf(2)
		want := values(b.take())
		for times := 1; times <= 2000; times++ {
			head := b.lane.numbered[0]
			next, done := b.lane.Settle(Outcome{Err: answer})
			var got []string
			for _, n := range b.lane.numbered {
				got = append(got, values(n)...)
			}
			if done != nil && (next != Reject || head.Count() != 1) || !slices.Equal(got, want) {
				t.Fatalf("after %q, %d times, the lane holds %v of %v, and is done with %v", answer, times, got, want, done)
			}
			if next == Reject {
				break
			}
			b.lane.sender = b.sender // found
			b.take()
		}
	}
}

// While a batch is under way, and after it has failed, the lane sends nothing behind it.
func TestNothingOvertakesAFailedBatch(t *testing.T) {
	b := newBench(t, Identity{Producer: 1})
	b.batchOf(2)
	b.batchOf(2)
	var log []string
	for _, answer := range []error{io.EOF, sarama.ErrNotLeaderForPartition, sarama.ErrTopicAuthorizationFailed, nil, sarama.ErrRequestTimedOut, nil} {
		head := b.take()
		sent := values(head)
		if second := b.take(); second != nil {
			t.Fatalf("%v left while %v was under way", values(second), sent)
		}
		b.lane.Settle(Outcome{Err: answer})
		b.batchOf(1)
		b.lane.sender = b.sender // found
		if answer == nil {
			log = append(log, sent...)
		}
	}
	if got := fmt.Sprint(log); got != "[1:v0 2:v1 3:v2 4:v3]" {
		t.Errorf("the log holds %s", got)
	}
}
