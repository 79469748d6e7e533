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
		named   int
		count   int
		unclear bool

		step    Step
		state   state
		numbers string
		after   bool // unclear
		fails   int
		found   bool // still on its sender
	}{
		{"acked", nil, -1, 3, false, SendNext, queued, "[]", false, 0, true},
		{"acked after an unclear attempt", nil, -1, 3, true, SendNext, queued, "[]", false, 0, true},
		{"duplicate", sarama.ErrDuplicateSequenceNumber, -1, 3, true, SendNext, queued, "[]", false, 0, true},
		{"duplicate of what was never sent", sarama.ErrDuplicateSequenceNumber, -1, 3, false, Renew, queued, "[10+3]", false, 1, true},

		{"not the leader", sarama.ErrNotLeaderForPartition, -1, 3, false, Resend, queued, "[10+3]", true, 1, false},
		{"not the leader, unclear before", sarama.ErrNotLeaderForPartition, -1, 3, true, Resend, queued, "[10+3]", true, 1, false},
		{"too few replicas", sarama.ErrNotEnoughReplicas, -1, 1, false, Resend, queued, "[10+1]", false, 1, false},
		{"corrupt", sarama.ErrInvalidMessage, -1, 3, false, Resend, queued, "[10+3]", false, 1, false},

		{"timed out", sarama.ErrRequestTimedOut, -1, 3, false, Resend, queued, "[10+3]", true, 1, false},
		{"too few replicas after the append", sarama.ErrNotEnoughReplicasAfterAppend, -1, 1, false, Resend, queued, "[10+1]", true, 1, false},
		{"connection ended", io.EOF, -1, 3, false, Resend, queued, "[10+3]", true, 1, false},
		{"no answer for the partition", errNoAnswer, -1, 3, false, Resend, queued, "[10+3]", true, 1, false},
		{"a code that nobody knows", sarama.KError(1234), -1, 3, false, Resend, queued, "[10+3]", true, 1, false},

		{"absent", sarama.ErrUnknownTopicOrPartition, -1, 3, false, Resend, queued, "[10+3]", false, 1, false},
		{"not allowed, unclear before", sarama.ErrTopicAuthorizationFailed, -1, 3, true, Resend, queued, "[10+3]", true, 1, false},

		{"too large", sarama.ErrMessageSizeTooLarge, -1, 4, false, SendNext, queued, "[10+2 12+2]", false, 0, true},
		{"too large, odd", sarama.ErrMessageSizeTooLarge, -1, 5, false, SendNext, queued, "[10+2 12+3]", false, 0, true},
		{"too large, two", sarama.ErrMessageSizeTooLarge, -1, 2, false, SendNext, queued, "[10+1 11+1]", false, 0, true},
		{"too large, alone", sarama.ErrMessageSizeTooLarge, -1, 1, false, Reject, stopped, "[10+1]", false, 0, true},
		{"too large, alone, unclear before", sarama.ErrMessageSizeTooLarge, -1, 1, true, Reject, stopped, "[10+1]", true, 0, true},
		{"too large, unclear before", sarama.ErrMessageSizeTooLarge, -1, 4, true, Renew, queued, "[10+2 12+2]", true, 0, true},
		{"named first", sarama.ErrInvalidRecord, 0, 4, false, SendNext, queued, "[10+1 11+3]", false, 0, true},
		{"named in the middle", sarama.ErrInvalidRecord, 2, 4, false, SendNext, queued, "[10+2 12+1 13+1]", false, 0, true},
		{"named last", sarama.ErrInvalidTimestamp, 3, 4, false, SendNext, queued, "[10+3 13+1]", false, 0, true},
		{"named, unclear before", sarama.ErrInvalidRecord, 1, 4, true, Renew, queued, "[10+1 11+1 12+2]", true, 0, true},
		{"named beyond the batch", sarama.ErrInvalidRecord, 4, 4, false, SendNext, queued, "[10+2 12+2]", false, 0, true},
		{"named below the batch", sarama.ErrInvalidRecord, math.MinInt32, 4, false, SendNext, queued, "[10+2 12+2]", false, 0, true},
		{"named alone", sarama.ErrInvalidRecord, 0, 1, false, Reject, stopped, "[10+1]", false, 0, true},

		{"cut off for what it is", errCutOff, -1, 4, true, Renew, queued, "[10+2 12+2]", true, 1, true},
		{"cut off, known before", errCutOff, -1, 5, false, Renew, queued, "[10+2 12+3]", false, 1, true},
		{"cut off, alone", errCutOff, -1, 1, false, Resend, queued, "[10+1]", true, 1, false},

		{"out of order", sarama.ErrOutOfOrderSequenceNumber, -1, 3, false, Renew, queued, "[10+3]", false, 1, true},
		{"out of order, unclear before", sarama.ErrOutOfOrderSequenceNumber, -1, 3, true, Renew, queued, "[10+3]", true, 1, true},
		{"producer unknown", sarama.ErrUnknownProducerID, -1, 1, false, Renew, queued, "[10+1]", false, 1, true},
		{"epoch", sarama.ErrInvalidProducerEpoch, -1, 1, false, Renew, queued, "[10+1]", false, 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, Identity{Producer: 1, Next: 10})
			b.batchOf(test.count)
			b.batchOf(1) // what comes next
			head := b.take()
			want := values(head)
			b.lane.unclear = test.unclear
			step, done := b.lane.Settle(Outcome{Err: test.err, Named: test.named})
			if step != test.step || b.lane.state != test.state || fmt.Sprint(b.numbers()) != test.numbers || b.lane.unclear != test.after ||
				b.lane.failures != test.fails || (b.lane.sender != nil) != test.found || b.lane.failingSince.IsZero() != (test.fails == 0) {
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
