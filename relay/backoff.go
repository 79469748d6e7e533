package relay

import (
	"math/rand/v2"
	"time"
)

const (
	retryFirst   = 50 * time.Millisecond
	retryMost    = 2 * time.Second
	retryStandby = time.Second // a standby takes over within this time
)

// backoff spaces attempts: soon at first, twice as late each time, and never in step with other relays.
type backoff struct{ last time.Duration }

// next returns how long to wait now. A standby asks more often than one that waits for a server.
func (b *backoff) next(standby bool) time.Duration {
	most := retryMost
	if standby {
		most = retryStandby
	}
	b.last = min(max(2*b.last, retryFirst), most)
	return b.last/2 + rand.N(b.last/2)
}

// reset makes the next wait short again.
func (b *backoff) reset() { b.last = 0 }
