package inflight

import (
	"time"
)

// latencyBounds are the histogram's upper bounds in seconds. Most deliveries take about a millisecond; an outage takes minutes.
var latencyBounds = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// latency is a histogram of the times from a transaction's commit to its last ack. It is a plain array, guarded by the lock that the
// tracker holds anyway: a histogram of client_golang would take several atomic operations for each transaction.
type latency struct {
	buckets []uint64 // by latencyBounds; the last one is for times above all bounds
	count   uint64
	sum     float64
}

func newLatency() latency { return latency{buckets: make([]uint64, len(latencyBounds)+1)} }

func (l *latency) observe(d time.Duration) {
	s := max(d.Seconds(), 0) // not below 0: the commit has the server's clock, the ack walpost's
	i := 0
	for i < len(latencyBounds) && s > latencyBounds[i] {
		i++
	}
	l.buckets[i]++
	l.count++
	l.sum += s
}

// cumulative returns how many observations are up to each bound.
func (l *latency) cumulative() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(latencyBounds))
	var n uint64
	for i, bound := range latencyBounds {
		n += l.buckets[i]
		buckets[bound] = n
	}
	return buckets
}
