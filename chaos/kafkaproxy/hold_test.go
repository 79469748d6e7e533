package kafkaproxy

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A held request outlives its sender. When it is released, it is in the log
// after records that were sent later.
func TestHold(t *testing.T) {
	c, topic := launch(t)
	dead := hasty(t, c.Addresses())
	if err := produce(t, dead, topic, "before"); err != nil {
		t.Fatal(err)
	}
	f, err := c.Hold(1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- dead.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("late")}).FirstErr() }()
	met(t, f)
	cancel()
	dead.Close()
	<-ended
	if c.Held() != 1 {
		t.Fatalf("%d requests held", c.Held())
	}
	if err := produce(t, hasty(t, c.Addresses()), topic, "after"); err != nil {
		t.Fatal(err)
	}
	if n := records(t, topic); n != 2 {
		t.Fatalf("%d records in the log while one is held", n)
	}
	if err := c.Release(limited(t)); err != nil {
		t.Fatal(err)
	}
	if got := values(t, topic, 3); got[0] != "before" || got[1] != "after" || got[2] != "late" {
		t.Errorf("the log has %q", got)
	}
	if c.Held() != 0 {
		t.Errorf("%d requests held after the release", c.Held())
	}
	if err := c.Release(limited(t)); err != nil {
		t.Errorf("nothing to release: %v", err)
	}
}

// After a held request, nothing else passes on its connection. More requests can
// be held.
func TestNothingOvertakesAHeldRequest(t *testing.T) {
	c, topic := launch(t)
	f, err := c.Hold(2)
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, c)
	for i, value := range []string{"held", "held too", "lost"} {
		conn.send(int32(i), produceRequest(topic, value))
	}
	conn.CloseWrite()
	conn.ends() // so everything has been read
	met(t, f)
	if n := records(t, topic); n != 0 || c.Held() != 2 {
		t.Errorf("%d records in the log and %d requests held, want none and 2", n, c.Held())
	}
	if err := c.Release(limited(t)); err != nil {
		t.Fatal(err)
	}
	if got := values(t, topic, 2); got[0] != "held" || got[1] != "held too" {
		t.Errorf("the log has %q", got)
	}
}
