package sink

import "time"

// leastGap is the minimum time between two requests to a broker, unless the second one is full. Events that come meanwhile go with the
// second request. A request costs the broker and the relay nearly the same, whether it has one event or a hundred. Without the gap, a
// thousand commits a second are a thousand requests a second. These keep a small machine so busy that the events wait for a processor.
// After a silence of this length, a request is sent at once. A full batch is always sent at once. The length was measured: shorter gaps
// cost more CPU, and longer ones only take more time.
const leastGap = 3 * time.Millisecond

// gapSlack is how much longer a request waits for an event that it can leave with. A timer would wake a thread of the operating system just
// for the request, and it would wake it late: the runtime's sleeps end on whole milliseconds. An event needs no timer, because the reader
// that brings it is already awake.
const gapSlack = time.Millisecond

// patience returns how long, at a time, a request that is not full waits for an event to leave with. s.mu is held.
func (s *sender) patience(now time.Time) time.Duration {
	gap := s.gap(now)
	if gap > 0 {
		gap += gapSlack
	}
	return gap
}

// gap returns the rest of leastGap at a time. s.mu is held.
func (s *sender) gap(now time.Time) time.Duration { return max(0, leastGap-now.Sub(s.lastSent)) }
