package admin

import (
	"sync"
	"time"
)

// A rateMeter samples a counter every second and keeps the samples of one minute.
const (
	sampleEvery = time.Second
	samplesKept = 61
)

// rateMeter computes how fast a counter grows. The zero value has no samples.
type rateMeter struct {
	mu      sync.Mutex
	samples [samplesKept]sample // a ring
	next    int
}

// sample is the value of a counter at a moment.
type sample struct {
	at    time.Time
	count int64
}

// add adds a sample.
func (m *rateMeter) add(now time.Time, count int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.samples[m.next%samplesKept] = sample{now, count}
	m.next++
}

// rate returns how much the counter grew per second over the duration last, up to count now. If the first sample is younger than that, the
// rate is since that sample. It is 0 while there are no samples.
func (m *rateMeter) rate(now time.Time, count int64, last time.Duration) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := max(0, m.next-samplesKept); i < m.next; i++ { // the oldest first
		s := m.samples[i%samplesKept]
		if age := now.Sub(s.at); age <= last+sampleEvery/2 && age > 0 {
			return float64(count-s.count) / age.Seconds()
		}
	}
	return 0
}

// watch adds a sample of count every second until done is closed.
func (m *rateMeter) watch(count func() int64, done <-chan struct{}) {
	m.add(time.Now(), count())
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-tick.C:
			m.add(now, count())
		}
	}
}
