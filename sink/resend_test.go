package sink

import (
	"testing"
	"testing/synctest"
	"time"
)

// Lanes that failed at different times come back together, a few times a second. One by one, each would need a request or a connection of
// its own.
func TestLongPausesEndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &resends{began: time.Now(), wake: make(chan struct{}, 1)}
		for range 1000 {
			time.Sleep(time.Millisecond)
			r.add(&partition{}, maxBackoff, nil, false)
		}
		ends := map[time.Time]bool{}
		for _, e := range r.pausing {
			ends[e.due] = true
		}
		if len(ends) > resendShare+1 {
			t.Errorf("the pauses of a second end at %d times", len(ends))
		}
		for _, pause := range []time.Duration{minBackoff, 100 * time.Millisecond, maxBackoff} {
			now := time.Now()
			r := &resends{began: r.began, wake: make(chan struct{}, 1)}
			r.add(&partition{}, pause, nil, false)
			if took := r.pausing[0].due.Sub(now); took <= pause || took > pause+max(pause/resendShare, resendGrid) {
				t.Errorf("a pause of %v takes %v", pause, took)
			}
		}
	})
}
