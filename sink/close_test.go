package sink

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"walpost/internal/kafkatest"
	"walpost/schema"
)

// ours returns the stacks of the goroutines that this package or sarama has started.
func ours() []string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var list []string
	for _, g := range bytes.Split(buf, []byte("\n\n")) {
		s := string(g)
		started := s[max(strings.LastIndex(s, "created by "), 0):]
		if strings.Contains(started, "MockBroker") {
			continue
		}
		if (strings.Contains(started, "walpost/sink.") || strings.Contains(started, "walpost/sink/")) && !strings.Contains(started, "_test.go") || strings.Contains(started, "IBM/sarama.") {
			list = append(list, s)
		}
	}
	return list
}

// gone waits until no goroutine is left: sarama closes its brokers in goroutines of its own.
func gone(t testing.TB) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for left := ours(); len(left) > 0; left = ours() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d goroutines are left behind:\n%s", len(left), strings.Join(left, "\n\n"))
		}
	}
}

// closes closes a producer, and checks that Close is quick, that no event is acked after it, and that no goroutine is left.
func closes(t *testing.T, p *Producer, acks *ledger) {
	t.Helper()
	begin := time.Now()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("Close took %v", took)
	}
	before, _ := acks.total()
	defer func() {
		if after, _ := acks.total(); after != before {
			t.Errorf("%d events were acked after Close", after-before)
		}
	}()
	gone(t)
}

func openToClose(t testing.TB, brokers []string, acks Acks) *Producer {
	t.Helper()
	gone(t) // those of other tests
	k, err := NewKafka(config(t, brokers))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := k.Open(ctx, acks)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Close returns at once and leaves no goroutine: at rest, under load, and while the producer waits for topics or leaders.
func TestClose(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	topic := kafkatest.Name(t)
	kafkatest.Topic(t, brokers, topic, 6, nil)
	load := func(p *Producer, name string, events int) {
		for i := range events {
			publish(t, p, event(name, fmt.Sprint(i%100), i), 1)
			if i%100 == 99 {
				p.Flush(false)
			}
		}
		p.Flush(false)
	}
	t.Run("unused", func(t *testing.T) { acks := newLedger(); closes(t, openToClose(t, brokers, acks), acks) })
	t.Run("at rest", func(t *testing.T) {
		acks := newLedger()
		p := openToClose(t, brokers, acks)
		load(p, topic, 1000)
		acks.wait(t, 1000, 0)
		closes(t, p, acks)
	})
	t.Run("under load", func(t *testing.T) {
		acks := newLedger()
		p := openToClose(t, brokers, acks)
		load(p, topic, 30_000)
		closes(t, p, acks)
		before, _ := acks.total()
		load(p, topic, 1000) // leads to nothing any more
		if after, rejected := acks.total(); after != before || rejected > 0 {
			t.Errorf("%d events were acked after Close, %d rejected", after-before, rejected)
		}
	})
	t.Run("topic absent", func(t *testing.T) {
		var log logLines
		acks := newLedger()
		p := openToClose(t, brokers, acks)
		p.log = log.logger()
		load(p, kafkatest.Name(t), 100)
		until(t, "a warning", log.says("waiting for topic"))
		closes(t, p, acks)
		if len(acks.rejected) > 0 {
			t.Errorf("rejected: %v", acks.rejected)
		}
	})
}

// slowAcks is an Acks whose reports take time.
type slowAcks struct{ entered, leave chan struct{} }

func (a slowAcks) Acked([]schema.Run, int) { close(a.entered); <-a.leave }
func (a slowAcks) Rejected(uint64, error)  {}

// Nothing is reported after Close: it waits for a report that is under way.
func TestCloseWaitsForReports(t *testing.T) {
	b := newScripted(t, "orders", 1)
	acks := slowAcks{make(chan struct{}), make(chan struct{})}
	p := openToClose(t, []string{b.Addr()}, acks)
	publish(t, p, event("orders", "k", 1), 1)
	p.Flush(false)
	<-acks.entered
	closed := make(chan error)
	go func() { closed <- p.Close() }()
	<-p.ctx.Done()
	select {
	case <-closed:
		close(acks.leave)
		t.Fatal("Close returned while an ack was being reported")
	case <-time.After(50 * time.Millisecond): // time enough for a Close that does not wait
	}
	close(acks.leave)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// Close does not wait for a broker that hangs, nor for one that is gone.
func TestCloseWithoutABroker(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{})
	kafkatest.Topic(t, c.Brokers(), "orders", 3, nil)
	for name, harm := range map[string]func(int) error{"frozen": c.Freeze, "killed": c.Kill} {
		t.Run(name, func(t *testing.T) {
			acks := newLedger()
			p := openToClose(t, c.Brokers(), acks)
			for i := range 300 {
				publish(t, p, event("orders", fmt.Sprint(i), i), 1)
			}
			p.Flush(false)
			acks.wait(t, 300, 0)
			if err := harm(1); err != nil {
				t.Fatal(err)
			}
			for i := range 300 {
				publish(t, p, event("orders", fmt.Sprint(i), i), 2)
			}
			p.Flush(false)
			until(t, "events under way", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				for _, s := range p.senders {
					s.mu.Lock()
					flying := len(s.requests)
					s.mu.Unlock()
					if flying > 0 || name == "killed" {
						return true
					}
				}
				return false
			})
			closes(t, p, acks)
			if acked, rejected := acks.total(); acked != 300 || rejected > 0 {
				t.Errorf("%d acked, %d rejected", acked, rejected)
			}
			if name == "frozen" {
				if err := c.Thaw(1); err != nil {
					t.Fatal(err)
				}
			} else if err := c.StartNode(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		})
	}
}
