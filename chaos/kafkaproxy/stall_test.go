package kafkaproxy

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A direction that stalls holds its data back until it is healed.
func TestStallAndHeal(t *testing.T) {
	c, topic := launch(t)
	for name, stalled := range map[string]struct{ up, down bool }{"up": {true, false}, "down": {false, true}, "both": {true, true}} {
		conn := dial(t, c)
		conn.send(1, metadataRequest()) // so that the connection is carried
		conn.receive()
		before := records(t, topic)
		if err := c.Stall(stalled.up, stalled.down); err != nil {
			t.Fatal(err)
		}
		conn.send(2, produceRequest(topic, name))
		if stalled.up {
			// A request over another connection shows that the stalled one had time to pass.
			if err := produce(t, hasty(t, c.Addresses()), topic, "a new connection"); err != nil {
				t.Errorf("%s: a new connection: %v", name, err)
			}
			before++
		} else {
			await(t, func() bool { return records(t, topic) == before+1 })
			before++
		}
		conn.silent()
		if n := records(t, topic); n != before {
			t.Errorf("%s: %d records in the log, want %d", name, n, before)
		}
		if err := c.Heal(); err != nil {
			t.Fatal(err)
		}
		if id, _ := conn.receive(); id != 2 {
			t.Errorf("%s: healed, the answer to %d came", name, id)
		}
		if stalled.up {
			before++
		}
		if n := records(t, topic); n != before {
			t.Errorf("%s: healed, %d records in the log, want %d", name, n, before)
		}
	}
}

// The end of a connection stalls too. The request of a dead client, sent before
// it, arrives after Heal.
func TestAnEndStallsToo(t *testing.T) {
	c, topic := launch(t)
	conn := dial(t, c)
	conn.send(1, metadataRequest())
	conn.receive()
	if err := c.Stall(true, false); err != nil {
		t.Fatal(err)
	}
	conn.send(2, produceRequest(topic, "late"))
	conn.Close()
	if n, _ := c.Connections(); n != 1 || records(t, topic) != 0 {
		t.Errorf("%d connections, %d records", n, records(t, topic))
	}
	if err := c.Heal(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { n, _ := c.Connections(); return n == 0 })
	if n := records(t, topic); n != 1 {
		t.Errorf("%d records in the log after the end has passed", n)
	}
}

// A stalled request is not affected by a fault. The end of a connection without
// a request stalls as well.
func TestAStalledRequestMeetsNothing(t *testing.T) {
	c, topic := launch(t)
	asks, leaves := dial(t, c), dial(t, c)
	for _, conn := range []raw{asks, leaves} {
		conn.send(1, metadataRequest())
		conn.receive()
	}
	f, err := c.Answer(kerr.NotEnoughReplicas.Code, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Stall(true, false); err != nil {
		t.Fatal(err)
	}
	asks.send(2, produceRequest(topic, "stalled"))
	leaves.Close()
	asks.silent()
	if n, _ := c.Connections(); n != 2 {
		t.Errorf("%d connections, want 2: the end of one of them is stalled", n)
	}
	if got := dial(t, c).produce(topic, "refused"); got != kerr.NotEnoughReplicas.Code {
		t.Errorf("the fault was not left to the next request: %d", got)
	}
	met(t, f)
	if err := c.Heal(); err != nil {
		t.Fatal(err)
	}
	if _, body := asks.receive(); produceCode(t, body) != 0 {
		t.Errorf("healed: %d", produceCode(t, body))
	}
}

// The proxy's own answers stall like a broker's, and so does the rest of a
// request of which a part has passed.
func TestStallsBetween(t *testing.T) {
	c, topic := launch(t)
	if _, err := c.Answer(kerr.NotEnoughReplicas.Code, 1); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, c)
	conn.send(1, metadataRequest())
	conn.receive()
	if err := c.Stall(false, true); err != nil {
		t.Fatal(err)
	}
	conn.send(2, produceRequest(topic, "refused"))
	conn.silent()
	if err := c.Heal(); err != nil {
		t.Fatal(err)
	}
	if _, body := conn.receive(); produceCode(t, body) != kerr.NotEnoughReplicas.Code {
		t.Errorf("healed: %d", produceCode(t, body))
	}

	frame := kmsg.NewRequestFormatter().AppendRequest(nil, produceRequest(topic, "in two parts"), 3)
	write := func(part []byte) {
		if _, err := conn.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	write(frame[:len(frame)/2])
	conn.silent()
	if err := c.Stall(true, false); err != nil {
		t.Fatal(err)
	}
	write(frame[len(frame)/2:])
	conn.silent()
	if n := records(t, topic); n != 0 {
		t.Errorf("%d records in the log", n)
	}
	if err := c.Heal(); err != nil {
		t.Fatal(err)
	}
	if _, body := conn.receive(); produceCode(t, body) != 0 || records(t, topic) != 1 {
		t.Errorf("healed: %d, %d records in the log", produceCode(t, body), records(t, topic))
	}
}
