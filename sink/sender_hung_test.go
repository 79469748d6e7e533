package sink

import (
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/internal/sinktest"
	"walpost/sink/wire"
)

// A sender that is closed while it connects to a frozen broker is still watched, so that its lanes need not wait for that time-out.
func TestClosedSenderLeavesABrokerThatHangs(t *testing.T) {
	t.Parallel()
	b, silent := newScripted(t, "orders", 1), sinktest.SilentListener(t)
	// The frozen broker leaves the cluster, and its partition goes to the other one.
	later := &sarama.MetadataResponse{Version: 9}
	later.AddBroker(b.Addr(), 2)
	later.AddTopicPartition("orders", 0, 2, nil, nil, nil, sarama.ErrNoError)
	first := &sarama.MetadataResponse{Version: 9}
	first.AddBroker(silent, 1)
	first.AddTopicPartition("orders", 0, 1, nil, nil, nil, sarama.ErrNoError)
	b.answer("MetadataRequest", sarama.NewMockWrapper(first))
	acks := newLedger()
	p := open(t, config(t, []string{b.Addr()}), acks)
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	var s *sender
	until(t, "the connection to the frozen broker", func() bool {
		p.mu.Lock()
		s = p.senders[1]
		p.mu.Unlock()
		if s == nil {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.connecting.parts) == 1
	})
	began := time.Now()
	b.answer("MetadataRequest", sarama.NewMockWrapper(later))
	p.wait(p.meta.Refresh("orders", 0))
	until(t, "the end of the frozen broker's sender", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.closed })
	acks.wait(t, 1, 0)
	if took := time.Since(began); took > wire.ReadTimeout-2*time.Second {
		t.Errorf("a frozen broker held the event for %v", took)
	}
	ended := make(chan struct{})
	go func() { s.watch(); close(ended) }() // again: a sender that has nothing any more is not watched
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("a closed sender that has nothing any more is still watched")
	}
}
