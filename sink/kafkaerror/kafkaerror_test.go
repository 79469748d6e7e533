package kafkaerror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"walpost/internal/reason"
)

// Every error code of an answer to a produce request, by its number in the protocol. Codes that are not listed here count as unclear.
func TestClassify(t *testing.T) {
	want := map[sarama.KError]Class{
		0: Done, 46: Repeated,
		2: Wait, 5: Wait, 8: Wait, 9: Wait, 19: Wait, 51: Wait, 74: Wait, 75: Wait, 89: Wait,
		-1: Unclear, 6: Unclear, 7: Unclear, 13: Unclear, 20: Unclear, 56: Unclear,
		3: Alarm, 17: Alarm, 21: Alarm, 29: Alarm, 31: Alarm, 33: Alarm, 34: Alarm, 35: Alarm, 43: Alarm, 44: Alarm, 58: Alarm, 76: Alarm,
		10: Refused, 18: Refused, 32: Refused, 87: Refused,
		45: Lost, 47: Lost, 49: Lost, 59: Lost, 90: Lost,
	}
	for code := sarama.KError(-1); code < 150; code++ {
		v, ok := want[code]
		if !ok {
			v = Unclear
		}
		for _, err := range []error{code, fmt.Errorf("wrapped: %w", code)} {
			if got := Classify(err); got != v {
				t.Errorf("%d (%v): class %d, want %d", code, err, got, v)
			}
			unsent := v
			if v == Unclear {
				unsent = Wait
			}
			if got := Classify(notSent{err}); got != unsent {
				t.Errorf("%d (%v): class %d before anything was sent, want %d", code, err, got, unsent)
			}
		}
		if v == Alarm && Cure(code) == Cure(errors.New("anything")) && code != 21 && code != 35 && code != 44 {
			t.Errorf("%d (%v): an alarm without a cure", code, code)
		}
		if r := WaitReason(code); v == Alarm && (r == reason.KafkaNotReady || r == reason.KafkaUnreachable) {
			t.Errorf("%d (%v): an alarm with the reason %s", code, code, r)
		}
		if v == Refused && Reason(code) == Reason(errors.New("anything")) {
			t.Errorf("%d (%v): refused without a reason", code, code)
		}
	}
	for _, err := range []error{io.EOF, net.ErrClosed, context.DeadlineExceeded, sarama.ErrNotConnected, sarama.ErrOutOfBrokers} {
		if got := Classify(err); got != Unclear {
			t.Errorf("%v: class %d", err, got)
		}
		if got := Classify(fmt.Errorf("wrapped: %w", notSent{err})); got != Wait {
			t.Errorf("%v: class %d before anything was sent", err, got)
		}
		if got := WaitReason(err); got != reason.KafkaUnreachable {
			t.Errorf("%v: reason %s", err, got)
		}
	}
	// The form in which sarama returns a broker's answer to a login.
	for _, code := range []sarama.KError{33, 34, 58} {
		if err := sarama.Wrap(code, errors.New("no such user")); Classify(err) != Alarm || Cure(err) != Cure(sarama.ErrSASLAuthenticationFailed) || WaitReason(err) != reason.KafkaLogin {
			t.Errorf("%v: class %d, %s", err, Classify(err), Cure(err))
		}
	}
}

// notSent is an error whose method NotSent returns true.
type notSent struct{ error }

func (notSent) NotSent() bool   { return true }
func (e notSent) Unwrap() error { return e.error }

// A request that was cut off has a class of its own, whatever ended its connection. A single event has a cure. Several events are divided,
// which needs no cure.
func TestRequestCut(t *testing.T) {
	for events := 1; events <= 2; events++ {
		err := fmt.Errorf("wrapped: %w", &RequestCut{Broker: "b:9092", Bytes: 123_456, Events: events, Times: 3, Err: notSent{io.EOF}})
		if Classify(err) != Cut || WaitReason(err) != reason.RequestCut || !errors.Is(err, io.EOF) {
			t.Errorf("class %d, reason %s", Classify(err), WaitReason(err))
		}
		if cure := Cure(err); (cure != "") != (events == 1) || events == 1 && !strings.Contains(cure, "socket.request.max.bytes of the brokers above 123456") {
			t.Errorf("%d events: cure %q", events, cure)
		}
	}
}
