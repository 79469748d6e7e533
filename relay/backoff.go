package relay

import (
	"math/rand/v2"
	"time"
)

const (
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second // a standby takes over, and a relay finds a server that is back, within this time
)

// backoff computes the pauses between attempts: short at first, twice as long each time, and random, so that relays do not retry in step.
type backoff struct{ last time.Duration }

// next returns how long to wait before the next attempt.
func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, retryFirst), retryMost)
	return b.last/2 + rand.N(b.last/2)
}

// reset makes the next wait short again.
func (b *backoff) reset() { b.last = 0 }
