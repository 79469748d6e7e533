package sink

import "time"

// A request costs the broker and the relay nearly the same whether it carries one event or a hundred. So while small requests follow each other,
// the next one waits for a gap to pass since the last one was sent, and takes along what comes meanwhile. The gap follows the time that requests
// take: where they are answered at once there is no need for it, and where they take long a millisecond more is not noticed. After a silence of
// a gap a request leaves at once, and so does a full batch at any time.
const (
	gapPerRequest = 2                    // gaps are so many times as long as a request takes
	mostGap       = 3 * time.Millisecond // and not longer than that
)

// gap returns how long a request that is not full has to wait at a time. s.mu is held.
func (s *sender) gap(now time.Time) time.Duration {
	return max(0, min(gapPerRequest*s.takes, mostGap)-now.Sub(s.lastSent))
}

// took notes how long a request took until its answer. s.mu is held.
func (s *sender) took(d time.Duration) {
	const weight = 8 // of what is known, against one request
	s.takes += (d - s.takes) / weight
}
