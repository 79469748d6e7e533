package sink

import (
	"math/rand/v2"
	"time"
)

// backoff pauses between attempts, while time or an operator cures what is in the way, and says in the log what is waited for.
type backoff struct {
	p      *Producer
	what   string
	topic  string // for cures
	since  time.Time
	tries  int
	warned *time.Time // when the wait was last logged; a partition's own, for its waits come one after the other
}

// pause waits, longer each time and up to maxBackoff, and returns false once the producer is closed. err is why.
func (b *backoff) pause(err error) bool {
	b.warn(err)
	b.tries++
	return b.p.sleep(pauseAfter(b.tries))
}

// sleep pauses, and returns false once the producer is closed.
func (p *Producer) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// warn logs what is waited for, every minute: at once if an operator must cure it, else from two seconds on.
func (b *backoff) warn(err error) {
	if err == nil || b.p.ctx.Err() != nil {
		return
	}
	cure, urgent := b.p.cfg.cure(err, b.topic)
	if !urgent && time.Since(b.since) < warnAfter || time.Since(*b.warned) < warnEvery {
		return
	}
	*b.warned = time.Now()
	code := waitReason(err)
	if urgent {
		b.p.log.Warn("waiting for "+b.what, "reason", code, "err", err, "cure", cure)
		return
	}
	b.p.log.Warn("waiting for "+b.what, "reason", code, "err", err, "for", time.Since(b.since).Round(time.Second))
}

// pauseAfter returns the pause after so many attempts. It is doubled each time, and drawn between three quarters of that and the whole, so
// that lanes that failed together do not come back together.
func pauseAfter(tries int) time.Duration {
	d := min(minBackoff<<min(tries-1, 16), maxBackoff)
	return d - rand.N(d/4)
}
