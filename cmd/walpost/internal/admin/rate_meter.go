package admin

import (
	"sync"
	"time"
)

// The meter looks at a counter every second and remembers a minute.
const (
	meterEvery = time.Second
	meterKeeps = 61
)

// meter tells how fast a counter grows. The zero value has seen nothing.
type meter struct {
	mu   sync.Mutex
	seen [meterKeeps]reading // a ring
	next int
}

// reading is what a counter was at a moment.
type reading struct {
	at    time.Time
	count int64
}

// note remembers what the counter is now.
func (m *meter) note(now time.Time, count int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[m.next%meterKeeps] = reading{now, count}
	m.next++
}

// rate returns by how much per second the counter has grown in the last time, up to count now: since the first reading, where that is
// shorter. 0: nothing was read yet.
func (m *meter) rate(now time.Time, count int64, last time.Duration) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := max(0, m.next-meterKeeps); i < m.next; i++ { // the oldest first
		r := m.seen[i%meterKeeps]
		if age := now.Sub(r.at); age <= last+meterEvery/2 && age > 0 {
			return float64(count-r.count) / age.Seconds()
		}
	}
	return 0
}

// watch notes what count returns until done is closed.
func (m *meter) watch(count func() int64, done <-chan struct{}) {
	m.note(time.Now(), count())
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-tick.C:
			m.note(now, count())
		}
	}
}
