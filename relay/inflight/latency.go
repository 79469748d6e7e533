package inflight

import (
	"time"
)

// latencyBounds are the histogram's upper bounds in seconds. Most deliveries take about a millisecond; an outage takes minutes.
var latencyBounds = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// latency counts how long transactions took from their commit to their last ack. It is a plain array that its owner guards by the lock
// which it holds anyway: client_golang's own histogram would take several atomic operations for each transaction.
type latency struct {
	buckets []uint64 // by latencyBounds; the last one is beyond all
	count   uint64
	sum     float64
}

func newLatency() latency { return latency{buckets: make([]uint64, len(latencyBounds)+1)} }

func (l *latency) observe(d time.Duration) {
	s := max(d.Seconds(), 0) // two clocks: the server's commit, our ack
	i := 0
	for i < len(latencyBounds) && s > latencyBounds[i] {
		i++
	}
	l.buckets[i]++
	l.count++
	l.sum += s
}

// cumulative returns how many were observed up to each bound.
func (l *latency) cumulative() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(latencyBounds))
	var n uint64
	for i, bound := range latencyBounds {
		n += l.buckets[i]
		buckets[bound] = n
	}
	return buckets
}
