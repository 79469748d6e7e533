package relay

import (
	"math/rand/v2"
	"time"
)

const (
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second // a standby takes over within this time, and a server that is back is found within it
)

// backoff spaces attempts: soon at first, twice as late each time, and never in step with other relays.
type backoff struct{ last time.Duration }

// next returns how long to wait now.
func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, retryFirst), retryMost)
	return b.last/2 + rand.N(b.last/2)
}

// reset makes the next wait short again.
func (b *backoff) reset() { b.last = 0 }
