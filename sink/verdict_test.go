package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/IBM/sarama"
)

// Every code that a produce request may be answered with, by number as the protocol has it. What is not here counts as unclear.
func TestJudge(t *testing.T) {
	want := map[sarama.KError]verdict{
		0: done, 46: done,
		2: wait, 5: wait, 8: wait, 9: wait, 19: wait, 51: wait, 74: wait, 75: wait, 89: wait,
		-1: unclear, 6: unclear, 7: unclear, 13: unclear, 20: unclear, 56: unclear,
		3: alarm, 21: alarm, 29: alarm, 31: alarm, 35: alarm, 44: alarm, 58: alarm, 76: alarm,
		10: refused, 17: refused, 18: refused, 32: refused, 43: refused, 87: refused,
		45: lost, 47: lost, 49: lost, 59: lost, 90: lost,
	}
	for code := sarama.KError(-1); code < 150; code++ {
		v, ok := want[code]
		if !ok {
			v = unclear
		}
		for _, err := range []error{code, fmt.Errorf("wrapped: %w", code)} {
			if got := judge(err); got != v {
				t.Errorf("%d (%v): verdict %d, want %d", code, err, got, v)
			}
		}
		if v == alarm && cure(code) == cure(errors.New("anything")) && code != 21 && code != 35 && code != 44 && code != 58 {
			t.Errorf("%d (%v): an alarm without a cure", code, code)
		}
		if v == refused && reason(code) == reason(errors.New("anything")) {
			t.Errorf("%d (%v): refused without a reason", code, code)
		}
	}
	for _, err := range []error{io.EOF, net.ErrClosed, context.DeadlineExceeded, sarama.ErrNotConnected, sarama.ErrOutOfBrokers, errNoAnswer, errNoPlaceholder} {
		if got := judge(err); got != unclear {
			t.Errorf("%v: verdict %d", err, got)
		}
	}
}

// While brokers give no id, Open waits and says what helps.
func TestOpenWaitsForAnID(t *testing.T) {
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
		if p.id.producer != 77 {
			t.Errorf("%v: id %+v", code, p.id)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Nobody listens: Open waits until its context ends, and says where.
func TestOpenWaitsForABroker(t *testing.T) {
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
	until(t, "a warning", log.says("waiting for Kafka", address, "does a broker listen there"))
	cancel()
	var permanent interface{ Permanent() bool }
	if err := <-ended; !errors.Is(err, context.Canceled) || errors.As(err, &permanent) {
		t.Errorf("Open: %v", err)
	}
}
