package kafkaproxy

import (
	"errors"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/internal/kafkatest"
)

// The proxy's own answer waits for the broker's answers to earlier requests:
// answers come in the order of the requests.
func TestAnswersKeepTheirOrder(t *testing.T) {
	c, topic := launch(t)
	if _, err := c.Answer(kerr.NotLeaderForPartition.Code, 3); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, c)
	var want, got []int32
	for i := range int32(6) {
		if i%2 == 0 {
			conn.send(i, metadataRequest())
		} else {
			conn.send(i, produceRequest(topic, "x"))
		}
		want = append(want, i)
	}
	for range want {
		id, body := conn.receive()
		got = append(got, id)
		if id%2 == 1 && produceCode(t, body) != kerr.NotLeaderForPartition.Code {
			t.Errorf("answer %d has error code %d", id, produceCode(t, body))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("answers to %v", got)
	}
	if n := records(t, topic); n != 0 {
		t.Errorf("%d records in the log", n)
	}
}

func TestCutAndRefuse(t *testing.T) {
	c, topic := launch(t)
	conn := dial(t, c)
	conn.send(1, metadataRequest())
	conn.receive()
	if err := c.Stall(true, true); err != nil { // a stalled connection is cut too
		t.Fatal(err)
	}
	if err := c.Cut(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("cut: %v", err)
	}
	await(t, func() bool { n, _ := c.Connections(); return n == 0 })

	k := hasty(t, c.Addresses())
	if err := produce(t, k, topic, "carried"); err != nil {
		t.Fatal(err)
	}
	if err := c.Refuse(true); err != nil {
		t.Fatal(err)
	}
	refused, err := net.Dial("tcp", c.Addresses()[0])
	if err == nil { // the reset may come before dialing has ended
		refused.SetDeadline(time.Now().Add(patience))
		_, err = refused.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("refused: %v", err)
	}
	if err := produce(t, k, topic, "over the old connection"); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
	if err := c.Refuse(false); err != nil {
		t.Fatal(err)
	}
	if err := produce(t, hasty(t, c.Addresses()), topic, "again"); err != nil {
		t.Errorf("after the refusal: %v", err)
	}
}

// Requests of a megabyte pass, and can also be answered without a broker.
func TestLargeRequests(t *testing.T) {
	c, topic := launch(t)
	k := stubborn(t, c.Addresses(), kgo.MaxBufferedBytes(64<<20), kgo.ProducerBatchMaxBytes(1_000_000))
	if _, err := c.Answer(kerr.NotEnoughReplicas.Code, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Mask(kerr.RequestTimedOut.Code, 1); err != nil {
		t.Fatal(err)
	}
	var list []*kgo.Record
	for range 20 {
		list = append(list, &kgo.Record{Topic: topic, Value: make([]byte, 900_000)})
	}
	if err := k.ProduceSync(limited(t), list...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if n := records(t, topic); n != 21 { // one of them twice, because its answer was masked
		t.Errorf("%d records in the log, want 21", n)
	}
}

// A frame that cannot be parsed ends the connection, and Err reports it.
func TestNoise(t *testing.T) {
	for name, noise := range map[string][]byte{
		"HTTP":                        []byte("GET / HTTP/1.1"),
		"a length below the head's":   {0, 0, 0, 7, 0, 3, 0, 8, 0, 0, 0, 1},
		"a version of the future":     {0, 0, 0, 10, 0, 0, 0, 99, 0, 0, 0, 1, 255, 255},
		"a produce request too short": {0, 0, 0, 10, 0, 0, 0, 8, 0, 0, 0, 1, 255, 255},
	} {
		brokers := kafkatest.Brokers(t)
		c, err := Launch(limited(t), brokers)
		if err != nil {
			t.Fatal(err)
		}
		conn := dial(t, c)
		if _, err := conn.Write(noise); err != nil {
			t.Fatal(err)
		}
		conn.ends()
		await(t, func() bool { return c.Err() != nil })
		if c.Close() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The proxy disconnects a client that tries TLS, and does not report an error.
func TestTLSIsRefusedQuietly(t *testing.T) {
	c, _ := launch(t)
	conn := dial(t, c)
	if _, err := conn.Write([]byte("\x16\x03\x01\x05\xa8\x01\x00\x05\xa4\x03\x03 and more")); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { n, _ := c.Connections(); return n == 0 })
}
