package wire

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/auth"
)

// walpost waits for the answer to a produce request for as long as the leader may wait for its followers, and a little longer. The time-out
// for other answers does not change: a broker that hangs must not delay a question by the longest time-out that a user sets.
func TestAnswersAreAwaited(t *testing.T) {
	const second = time.Second
	for _, test := range []struct{ configured, leader, answer time.Duration }{
		{0, 30 * second, 35 * second},
		{30 * second, 30 * second, 35 * second},
		{10 * second, 10 * second, 15 * second},
		{second, second, 1500 * time.Millisecond},
		{10 * time.Minute, 10 * time.Minute, 10*time.Minute + 5*second},
	} {
		t.Run(test.configured.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := NewSplicer(over(t, auth.Security{}))
				s.RequestTimeout = test.configured
				cfg, err := s.SaramaConfig("walpost-test")
				if err != nil {
					t.Fatal(err)
				}
				b, far := splicedBy(t, s, s.forProducing(cfg))
				began := time.Now()
				done := make(chan error, 1)
				go (&Link{Greeting{version: usualProduce}, b, s}).Produce(partsOf(t, "a/0"), func(_ []Answer, err error) { done <- err })
				p := readProduce(t, far)
				if got := time.Duration(p.timeout) * time.Millisecond; got != test.leader {
					t.Errorf("the leader may wait for %s, want %s", got, test.leader)
				}
				if err := <-done; !os.IsTimeout(err) || time.Since(began) != test.answer {
					t.Errorf("a produce request: %v after %s, want a time-out after %s", err, time.Since(began), test.answer)
				}
				b, far = splicedBy(t, s, cfg)
				began = time.Now()
				go swallow(far)
				if _, err := b.GetMetadata(&sarama.MetadataRequest{}); !os.IsTimeout(err) || time.Since(began) != ReadTimeout {
					t.Errorf("metadata: %v after %s, want a time-out after %s", err, time.Since(began), ReadTimeout)
				}
			})
		})
	}
}

// swallow reads one request and answers nothing.
func swallow(c net.Conn) {
	length := make([]byte, 4)
	if _, err := io.ReadFull(c, length); err == nil {
		_, _ = io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(length)))
	}
}
