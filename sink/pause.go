package sink

import "time"

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

// pauseAfter returns the pause after a number of attempts. It doubles each time, up to maxBackoff.
func pauseAfter(tries int) time.Duration {
	return min(minBackoff<<min(max(tries-1, 0), 16), maxBackoff)
}
