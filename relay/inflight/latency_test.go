package inflight

import (
	"testing"
	"time"
)

func TestLatency(t *testing.T) {
	l := newLatency()
	for _, d := range []time.Duration{-time.Second, 0, 500 * time.Microsecond, 501 * time.Microsecond, time.Hour} {
		l.observe(d)
	}
	if l.buckets[0] != 3 || l.buckets[1] != 1 || l.buckets[len(latencyBounds)] != 1 || l.count != 5 {
		t.Errorf("%+v", l)
	}
}
