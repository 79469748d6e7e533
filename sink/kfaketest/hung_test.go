package kfaketest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"walpost/sink/wire"
)

// logLines is a log that can be read while it is written.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestHungBrokerIsLeft: a broker accepts a batch and never answers, and another broker leads the partition now. The producer disconnects
// from the hung broker long before the read time-out ends its request, and sends the batch to the new leader.
func TestHungBrokerIsLeft(t *testing.T) {
	t.Parallel() // mostly waiting
	b := newBroker(t, 1, faults{})
	const events = 3 * partitions
	acks := &ledger{rejected: map[int]error{}, changed: make(chan struct{}, 1)}
	var log logLines
	p := openLogged(t, b.cluster.ListenAddrs(), topic, acks, slog.New(slog.NewTextHandler(&log, nil)))
	publish := func(from int) {
		for n := range events {
			if _, err := p.Publish(event(from+n), uint64(from+n)); err != nil {
				t.Fatal(err)
			}
		}
		p.Flush(false)
	}
	publish(0)
	acks.wait(t, events, 0)

	const moved = int32(0) // the partition
	hung := b.cluster.LeaderFor(topic, moved)
	release := make(chan struct{})
	taken := make(chan struct{}, 100)
	defer close(release)
	b.mu.Lock()
	b.hang = func(node int32) error {
		if node != hung {
			return nil
		}
		taken <- struct{}{}
		<-release
		return errCut
	}
	b.mu.Unlock()
	began := time.Now()
	publish(events)
	<-taken
	for n := range int32(partitions) {
		if b.cluster.LeaderFor(topic, n) == hung {
			if err := b.cluster.MoveTopicPartition(topic, n, (hung+1)%nodes); err != nil {
				t.Fatal(err)
			}
		}
	}
	acks.wait(t, 2*events, 0)
	if took := time.Since(began); took > wire.ReadTimeout-2*time.Second {
		t.Errorf("a hung broker held events for %v", took)
	}
	if !strings.Contains(log.String(), "disconnecting from a broker that does not answer") {
		t.Errorf("the log does not say that the producer disconnects from the broker:\n%s", log.String())
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
