package sink

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

// While brokers give no id, Open waits and logs the cure.
func TestOpenWaitsForAnID(t *testing.T) {
	t.Parallel()
	for code, says := range map[sarama.KError]string{
		sarama.ErrClusterAuthorizationFailed: "--operation IdempotentWrite --cluster",
		14:                                   "once the cluster is up", // COORDINATOR_LOAD_IN_PROGRESS
	} {
		b := newScripted(t, "orders", 1)
		b.answer("InitProducerIDRequest", sarama.NewMockInitProducerIDResponse(t).SetError(code))
		var log logLines
		cfg := config(t, []string{b.Addr()})
		cfg.Logger = log.logger()
		k, err := NewKafka(cfg)
		if err != nil {
			t.Fatal(err)
		}
		opened := make(chan *Producer, 1)
		go func() {
			p, err := k.Open(context.Background(), newLedger())
			if err != nil {
				t.Errorf("%v: %v", code, err)
			}
			opened <- p
		}()
		until(t, "a warning", log.says("waiting for Kafka", says))
		b.answer("InitProducerIDRequest", sarama.NewMockInitProducerIDResponse(t).SetProducerID(77))
		p := <-opened
		if p == nil {
			continue
		}
		if p.ids.usual.Producer != 77 {
			t.Errorf("%v: id %+v", code, p.ids.usual)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Nobody listens: Open waits until its context ends, and logs the address.
func TestOpenWaitsForABroker(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	var log logLines
	cfg := config(t, []string{address})
	cfg.Logger = log.logger()
	k, err := NewKafka(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := k.Open(ctx, newLedger())
		ended <- err
	}()
	until(t, "a warning", log.says("waiting for Kafka", address, "that a broker listens there"))
	cancel()
	var permanent interface{ Permanent() bool }
	if err := <-ended; !errors.Is(err, context.Canceled) || errors.As(err, &permanent) {
		t.Errorf("Open: %v", err)
	}
}

// The cluster is logged once, and not again for each producer.
func TestClusterIsTold(t *testing.T) {
	b := newScripted(t, "orders", 1)
	var log logLines
	cfg := config(t, []string{b.Addr()})
	cfg.Logger = log.logger()
	k, err := NewKafka(cfg)
	if err != nil {
		t.Fatal(err)
	}
	told := func() (n int) {
		for _, line := range log.all() {
			if strings.Contains(line, "connected to Kafka") && strings.Contains(line, "cluster=") && strings.Contains(line, b.Addr()) {
				n++
			}
		}
		return n
	}
	for range 2 {
		p, err := k.Open(t.Context(), newLedger())
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		if told() != 1 {
			t.Errorf("logged %d times", told())
		}
	}
}
