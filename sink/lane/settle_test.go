package lane

import (
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/IBM/sarama"

	"walpost/sink/kafkaerror"
)

var errCutOff = fmt.Errorf("wrapped: %w", &kafkaerror.RequestCut{Err: io.EOF})

// The step for each answer, from a clear and from an unclear state, for batches of one and of several records.
func TestSettle(t *testing.T) {
	for _, test := range []struct {
		name    string
		err     error
		named   []int32
		count   int
		unclear bool

		step    Step
		state   state
		numbers string
		after   bool // unclear
		fails   int
		found   bool // still on its sender
	}{
		{"acked", nil, nil, 3, false, SendNext, queued, "[]", false, 0, true},
		{"acked after an unclear attempt", nil, nil, 3, true, SendNext, queued, "[]", false, 0, true},
		{"duplicate", sarama.ErrDuplicateSequenceNumber, nil, 3, true, SendNext, queued, "[]", false, 0, true},
		{"duplicate of what was never sent", sarama.ErrDuplicateSequenceNumber, nil, 3, false, Renew, queued, "[10+3]", false, 1, true},

		{"not the leader", sarama.ErrNotLeaderForPartition, nil, 3, false, Resend, queued, "[10+3]", true, 1, false},
		{"not the leader, unclear before", sarama.ErrNotLeaderForPartition, nil, 3, true, Resend, queued, "[10+3]", true, 1, false},
		{"too few replicas", sarama.ErrNotEnoughReplicas, nil, 1, false, Resend, queued, "[10+1]", false, 1, false},
		{"corrupt", sarama.ErrInvalidMessage, nil, 3, false, Resend, queued, "[10+3]", false, 1, false},

		{"timed out", sarama.ErrRequestTimedOut, nil, 3, false, Resend, queued, "[10+3]", true, 1, false},
		{"too few replicas after the append", sarama.ErrNotEnoughReplicasAfterAppend, nil, 1, false, Resend, queued, "[10+1]", true, 1, false},
		{"connection ended", io.EOF, nil, 3, false, Resend, queued, "[10+3]", true, 1, false},
		{"no answer for the partition", errNoAnswer, nil, 3, false, Resend, queued, "[10+3]", true, 1, false},
		{"a code that nobody knows", sarama.KError(1234), nil, 3, false, Resend, queued, "[10+3]", true, 1, false},

		{"absent", sarama.ErrUnknownTopicOrPartition, nil, 3, false, Resend, queued, "[10+3]", false, 1, false},
		{"not allowed, unclear before", sarama.ErrTopicAuthorizationFailed, nil, 3, true, Resend, queued, "[10+3]", true, 1, false},

		{"too large", sarama.ErrMessageSizeTooLarge, nil, 4, false, SendNext, queued, "[10+2 12+2]", false, 0, true},
		{"too large, odd", sarama.ErrMessageSizeTooLarge, nil, 5, false, SendNext, queued, "[10+2 12+3]", false, 0, true},
		{"too large, two", sarama.ErrMessageSizeTooLarge, nil, 2, false, SendNext, queued, "[10+1 11+1]", false, 0, true},
		{"too large, alone", sarama.ErrMessageSizeTooLarge, nil, 1, false, Reject, stopped, "[10+1]", false, 0, true},
		{"too large, alone, unclear before", sarama.ErrMessageSizeTooLarge, nil, 1, true, Reject, stopped, "[10+1]", true, 0, true},
		{"too large, unclear before", sarama.ErrMessageSizeTooLarge, nil, 4, true, Renew, queued, "[10+2 12+2]", true, 0, true},
		{"named first", sarama.ErrInvalidRecord, []int32{0}, 4, false, SendNext, queued, "[10+1 11+3]", false, 0, true},
		{"named in the middle", sarama.ErrInvalidRecord, []int32{2}, 4, false, SendNext, queued, "[10+2 12+1 13+1]", false, 0, true},
		{"named last", sarama.ErrInvalidTimestamp, []int32{3}, 4, false, SendNext, queued, "[10+3 13+1]", false, 0, true},
		{"named, unclear before", sarama.ErrInvalidRecord, []int32{1}, 4, true, Renew, queued, "[10+1 11+1 12+2]", true, 0, true},
		{"several named", sarama.ErrInvalidRecord, []int32{1, 4, 5}, 8, false, SendNext, queued, "[10+1 11+1 12+2 14+1 15+1 16+2]", false, 0, true},
		{"first and last named", sarama.ErrInvalidTimestamp, []int32{0, 7}, 8, false, SendNext, queued, "[10+1 11+6 17+1]", false, 0, true},
		{"all named", sarama.ErrInvalidTimestamp, []int32{0, 1, 2}, 3, false, SendNext, queued, "[10+1 11+1 12+1]", false, 0, true},
		{"named twice and in disorder", sarama.ErrInvalidRecord, []int32{5, 1, 5, 1}, 8, false, SendNext, queued, "[10+1 11+1 12+3 15+1 16+2]", false, 0, true},
		{"named a thousand times", sarama.ErrInvalidRecord, slices.Repeat([]int32{1}, 1000), 4, false, SendNext, queued, "[10+1 11+1 12+2]", false, 0, true},
		{"several named, unclear before", sarama.ErrInvalidRecord, []int32{1, 2}, 4, true, Renew, queued, "[10+1 11+1 12+1 13+1]", true, 0, true},
		{"some named beyond the batch", sarama.ErrInvalidRecord, []int32{math.MinInt32, -1, 2, 4, math.MaxInt32}, 4, false, SendNext, queued, "[10+2 12+1 13+1]", false, 0, true},
		{"named beyond the batch", sarama.ErrInvalidRecord, []int32{4}, 4, false, SendNext, queued, "[10+2 12+2]", false, 0, true},
		{"named below the batch", sarama.ErrInvalidRecord, []int32{math.MinInt32}, 4, false, SendNext, queued, "[10+2 12+2]", false, 0, true},
		{"named alone", sarama.ErrInvalidRecord, []int32{0}, 1, false, Reject, stopped, "[10+1]", false, 0, true},

		{"cut off for what it is", errCutOff, nil, 4, true, Renew, queued, "[10+2 12+2]", true, 1, true},
		{"cut off, known before", errCutOff, nil, 5, false, Renew, queued, "[10+2 12+3]", true, 1, true},
		{"cut off, alone", errCutOff, nil, 1, false, Resend, queued, "[10+1]", true, 1, false},

		{"out of order", sarama.ErrOutOfOrderSequenceNumber, nil, 3, false, Renew, queued, "[10+3]", false, 1, true},
		{"out of order, unclear before", sarama.ErrOutOfOrderSequenceNumber, nil, 3, true, Renew, queued, "[10+3]", true, 1, true},
		{"producer unknown", sarama.ErrUnknownProducerID, nil, 1, false, Renew, queued, "[10+1]", false, 1, true},
		{"epoch", sarama.ErrInvalidProducerEpoch, nil, 1, false, Renew, queued, "[10+1]", false, 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, Identity{Producer: 1, Next: 10})
			b.batchOf(test.count)
			b.batchOf(1) // what comes next
			head := b.take()
			want := values(head)
			b.lane.unclear = test.unclear
			step, done := b.lane.Settle(Outcome{Err: test.err, Named: slices.Clone(test.named)})
			if step != test.step || b.lane.state != test.state || fmt.Sprint(b.numbers()) != test.numbers || b.lane.unclear != test.after ||
				int(b.lane.failures) != test.fails || (b.lane.sender != nil) != test.found || b.lane.failingSince.IsZero() != (test.fails == 0) {
				t.Errorf("step %d, state %d, numbered %v, unclear %t, %d failures, found %t; want step %d, state %d, numbered %v, unclear %t, %d failures, found %t",
					step, b.lane.state, b.numbers(), b.lane.unclear, b.lane.failures, b.lane.sender != nil,
					test.step, test.state, test.numbers, test.after, test.fails, test.found)
			}
			if over := test.numbers == "[]" || test.step == Reject; over != (done == head) || !over && done != nil {
				t.Errorf("settle returned %v, and the head is %v", done, head)
			}
			if test.numbers == "[]" {
				return
			}
			var got []string
			for _, n := range b.lane.numbered {
				got = append(got, values(n)...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("numbered records %v, want %v", got, want)
			}
		})
	}
}
