package sink

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// The gap follows the time that requests take, up to a bound, and has passed after a silence.
func TestGap(t *testing.T) {
	now := time.Now()
	for _, test := range []struct{ takes, since, want time.Duration }{
		{0, 0, 0}, // nothing was sent yet
		{100 * time.Microsecond, 0, 200 * time.Microsecond},
		{time.Millisecond, 500 * time.Microsecond, 1500 * time.Microsecond},
		{time.Millisecond, 2 * time.Millisecond, 0},
		{time.Millisecond, time.Hour, 0},
		{time.Second, 0, mostGap},
	} {
		s := &sender{takes: test.takes, lastSent: now.Add(-test.since)}
		if got := s.gap(now); got != test.want {
			t.Errorf("a request takes %v, and the last one was sent %v ago: gap %v, want %v", test.takes, test.since, got, test.want)
		}
	}
	s := &sender{}
	for range 100 {
		s.took(time.Millisecond)
	}
	if s.takes < 900*time.Microsecond || s.takes > time.Millisecond {
		t.Errorf("after a hundred requests of 1ms one takes %v", s.takes)
	}
}

// Single events that follow each other fast share requests, although no linger is set and their lanes are idle: each request costs a broker as
// much as one with many events.
func TestSmallRequestsAreSpaced(t *testing.T) {
	const lanes, events = 16, 200
	b := newScripted(t, "orders", lanes)
	acks := newLedger()
	p := open(t, config(t, []string{b.Addr()}), acks)
	for i := range lanes {
		publish(t, p, event("orders", fmt.Sprint(i), i), uint64(i))
	}
	p.Flush(false)
	acks.wait(t, lanes, 0)
	requests := asked[*sarama.ProduceRequest](b)
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	began := time.Now()
	for i := range events {
		<-tick.C
		p.mu.Lock()
		for _, s := range p.senders {
			s.mu.Lock()
			s.takes = time.Second // of a broker that is busy; this one is not
			s.mu.Unlock()
		}
		p.mu.Unlock()
		publish(t, p, event("orders", fmt.Sprint(i%lanes), i), uint64(i))
		p.Flush(false)
	}
	took := time.Since(began)
	acks.wait(t, lanes+events, 0)
	if n, most := asked[*sarama.ProduceRequest](b)-requests, int(took/mostGap)+2; n > most {
		t.Errorf("%d requests for %d events in %v, want %d at most", n, events, took, most)
	}
}
