package kafkaproxy

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An answered request leaves nothing in the log, whatever the code says.
func TestAnswer(t *testing.T) {
	c, topic := launch(t)
	conn := dial(t, c)
	for _, code := range Retriable {
		f, err := c.Answer(code.Number, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.produce(topic, code.Name); got != code.Number {
			t.Errorf("answered with %d, want %s", got, code.Name)
		}
		met(t, f)
	}
	if n := records(t, topic); n != 0 {
		t.Errorf("%d records in the log", n)
	}
	if got := conn.produce(topic, "carried"); got != 0 || records(t, topic) != 1 {
		t.Errorf("the request behind them: %d, %d records in the log", got, records(t, topic))
	}
}

// A masked request is in the log, but its sender gets an error.
func TestMask(t *testing.T) {
	c, topic := launch(t)
	conn := dial(t, c)
	for i, code := range Retriable {
		f, err := c.Mask(code.Number, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.produce(topic, code.Name); got != code.Number {
			t.Errorf("masked with %d, want %s", got, code.Name)
		}
		met(t, f)
		if n := records(t, topic); n != int64(i+1) {
			t.Fatalf("%d records in the log after %s, want %d", n, code.Name, i+1)
		}
	}
}

// Faults are applied in the order in which they were armed, each as often as
// asked, and the request after them succeeds.
func TestFaultsCountDown(t *testing.T) {
	c, topic := launch(t)
	k := stubborn(t, c.Addresses())
	var all []*Fault
	for _, arm := range []func() (*Fault, error){
		func() (*Fault, error) { return c.Answer(kerr.NotEnoughReplicas.Code, 2) },
		func() (*Fault, error) { return c.Mask(kerr.RequestTimedOut.Code, 2) },
		func() (*Fault, error) { return c.Swallow(2) },
	} {
		f, err := arm()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	if err := produce(t, k, topic, "again and again"); err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		met(t, f)
		if f.Used() != 2 {
			t.Errorf("used %d times", f.Used())
		}
	}
	// Two attempts were masked, two swallowed, and one succeeded.
	if n := records(t, topic); n != 5 {
		t.Errorf("%d records in the log, want 5", n)
	}
}

// A record that is sent again with its sequence is in the log once: the proxy
// passes requests on unchanged.
func TestSwallowedIsAppendedOnce(t *testing.T) {
	c, topic := launch(t)
	k := client(t, c.Addresses(), fast) // idempotent, and in the newest version
	f, err := c.Swallow(3)
	if err != nil {
		t.Fatal(err)
	}
	if err := produce(t, k, topic, "once"); err != nil {
		t.Fatal(err)
	}
	met(t, f)
	if n := records(t, topic); n != 1 {
		t.Errorf("%d records in the log", n)
	}
}

// A fault is not applied to an answer without success. That passes unchanged,
// and the fault waits for a success.
func TestOnlySuccessIsSpoilt(t *testing.T) {
	c, topic := launch(t)
	conn := dial(t, c)
	f, err := c.Mask(kerr.RequestTimedOut.Code, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.produce(topic, string(make([]byte, 1_100_000))); got != kerr.MessageTooLarge.Code {
		t.Errorf("a record over max.message.bytes: %d", got)
	}
	if f.Used() != 0 {
		t.Error("used up by a refusal")
	}
	if got := conn.produce(topic, "fits"); got != kerr.RequestTimedOut.Code {
		t.Errorf("masked: %d", got)
	}
	met(t, f)
}

// If the connection ends before the answer has come, the fault affects another
// request instead.
func TestACutLeavesTheFault(t *testing.T) {
	c, topic := launch(t)
	conn := dial(t, c)
	conn.send(1, metadataRequest()) // so that the connection is carried
	conn.receive()
	f, err := c.Mask(kerr.RequestTimedOut.Code, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Stall(false, true); err != nil {
		t.Fatal(err)
	}
	conn.send(2, produceRequest(topic, "cut"))
	await(t, func() bool { return records(t, topic) == 1 })
	if err := c.Cut(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { n, _ := c.Connections(); return n == 0 })
	if f.Used() != 0 {
		t.Error("used up by an answer that did not arrive")
	}
	if got := dial(t, c).produce(topic, "masked"); got != kerr.RequestTimedOut.Code {
		t.Errorf("the next request: %d", got)
	}
	met(t, f)
}

// A request with acks=0 has no answer to change. Later answers still find their
// requests.
func TestWithoutAcks(t *testing.T) {
	c, topic := launch(t)
	f, err := c.Answer(kerr.NotEnoughReplicas.Code, 1)
	if err != nil {
		t.Fatal(err)
	}
	k := stubborn(t, c.Addresses(), kgo.RequiredAcks(kgo.NoAck()))
	for range 3 {
		if err := produce(t, k, topic, "unasked"); err != nil {
			t.Fatal(err)
		}
	}
	if err := produce(t, hasty(t, c.Addresses()), topic, "refused"); !errors.Is(err, kerr.NotEnoughReplicas) {
		t.Errorf("with acknowledgement: %v", err)
	}
	met(t, f)
}

func TestCancel(t *testing.T) {
	c, topic := launch(t)
	conn := dial(t, c)
	f, err := c.Answer(kerr.NotEnoughReplicas.Code, 2)
	if err != nil {
		t.Fatal(err)
	}
	if conn.produce(topic, "refused") == 0 {
		t.Error("the fault was not applied")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := f.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for the second: %v", err)
	}
	f.Cancel()
	met(t, f)
	if got := conn.produce(topic, "taken"); got != 0 || f.Used() != 1 {
		t.Errorf("after the cancellation: %d, used %d times", got, f.Used())
	}
}

func TestUnknownBroker(t *testing.T) {
	c, _ := launch(t)
	if _, err := c.Answer(1, 1, 77); err == nil {
		t.Error("Answer accepts a broker that does not exist")
	}
	if err := c.Cut(77); err == nil {
		t.Error("Cut accepts a broker that does not exist")
	}
	if _, err := c.Hold(0); err == nil {
		t.Error("Hold accepts a fault for no request")
	}
}
