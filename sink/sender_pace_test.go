package sink

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
)

// The gap counts from the last request. After a silence it has passed.
func TestGap(t *testing.T) {
	now := time.Now()
	for _, test := range []struct{ since, want time.Duration }{{0, leastGap}, {time.Millisecond, leastGap - time.Millisecond}, {leastGap, 0}, {time.Hour, 0}} {
		s := &sender{lastSent: now.Add(-test.since)}
		if got := s.gap(now); got != test.want {
			t.Errorf("%v after a request the gap is %v, want %v", test.since, got, test.want)
		}
	}
	if got := (&sender{}).gap(now); got != 0 {
		t.Errorf("before the first request the gap is %v", got)
	}
}

// A waiting request leaves with the first event that comes after the gap, or a little later by itself.
func TestEventTakesAlongWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, alone := range []bool{false, true} {
			s := &sender{p: &Producer{cfg: &Config{}}, wake: make(chan struct{}, 1), timer: time.NewTimer(time.Hour), lastSent: time.Now()}
			comes := func() {
				s.hold()
				defer s.release(false, true)
				if len(s.ready) == 0 {
					s.push(&partition{}, false)
				}
			}
			woken := func() bool {
				select {
				case <-s.wake:
				case <-s.timer.C:
				default:
					return false
				}
				return s.due()
			}
			for range 2 {
				time.Sleep(leastGap / 3)
				comes()
				if woken() {
					t.Fatal("a request leaves within the gap")
				}
			}
			time.Sleep(leastGap / 3)
			if !alone {
				comes()
			}
			if alone == woken() {
				t.Errorf("the gap has passed, and no event has come since: %v, the waiting request leaves: %v", alone, !alone)
			}
			if time.Sleep(gapSlack); alone && !woken() {
				t.Error("without another event, the waiting request does not leave")
			}
		}
	})
}

// Single events that follow each other quickly share requests, although there is no linger and their lanes are idle: each request costs a
// broker as much as one with many events.
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
		publish(t, p, event("orders", fmt.Sprint(i%lanes), i), uint64(i))
		p.Flush(false)
	}
	took := time.Since(began)
	acks.wait(t, lanes+events, 0)
	if n, most := asked[*sarama.ProduceRequest](b)-requests, int(took/leastGap)+2; n > most {
		t.Errorf("%d requests for %d events in %v, want %d at most", n, events, took, most)
	}
}
