package sink

import "time"

// leastGap is how long a request that is not full waits after the last one to its broker was sent, and what comes meanwhile goes with it. A
// request costs the broker and the relay nearly the same whether it has one event or a hundred. Without the gap a thousand commits a second
// are a thousand requests a second, which keep a small machine so busy that the events wait for a processor. After a silence of a gap a request
// leaves at once, and so does a full batch at any time. The length was measured: shorter ones cost more CPU, and longer ones only time.
const leastGap = 3 * time.Millisecond

// gapSlack is how much longer a request waits for an event that takes it along. A timer wakes a thread of the system for nothing but the
// request, and late: the runtime's sleeps end on whole milliseconds. The reader is awake when it brings an event, and that event waits for
// nothing.
const gapSlack = time.Millisecond

// patience returns how long a request that is not full waits, at a time, while nothing takes it along. s.mu is held.
func (s *sender) patience(now time.Time) time.Duration {
	gap := s.gap(now)
	if gap > 0 {
		gap += gapSlack
	}
	return gap
}

// gap returns how long a request that is not full has to wait at a time. s.mu is held.
func (s *sender) gap(now time.Time) time.Duration { return max(0, leastGap-now.Sub(s.lastSent)) }
