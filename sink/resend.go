package sink

import (
	"container/heap"
	"sync"
	"time"
)

// resends holds the lanes that have to wait before they go on: until a pause ends, and until a metadata refresh ends. There may be ten
// thousand of them. So one goroutine waits for all, and lanes that failed together come back together.
type resends struct {
	p     *Producer
	began time.Time // when the producer was made
	wake  chan struct{}

	mu         sync.Mutex // innermost, see Producer.mu
	pausing    pauses
	refreshing []*waiting // their pause is over, but their refresh is not
}

// waiting is a lane that waits.
type waiting struct {
	part    *partition
	due     time.Time
	refresh <-chan struct{} // nil: it waits for no refresh
	renew   bool            // it needs a new producer id first
}

const (
	// The end of a pause is rounded up, so that lanes share their next request: to a multiple of resendGrid, or of a resendShare-th of the
	// pause if that is more. Lanes that have failed for long began to fail at different times.
	resendGrid  = minBackoff
	resendShare = 4
	// refreshWait is how long a lane waits for a refresh after its pause. If no broker is reachable, the last known leader is tried again.
	refreshWait = time.Second
)

// add makes a lane wait for a pause, and for a refresh that it has joined; nil: for none. It does not block.
func (r *resends) add(part *partition, pause time.Duration, refresh <-chan struct{}, renew bool) {
	due := time.Now()
	if pause > 0 {
		due = r.roundUp(due.Add(pause), max(resendGrid, pause/resendShare))
	}
	r.mu.Lock()
	heap.Push(&r.pausing, &waiting{part, due, refresh, renew})
	first := r.pausing[0].part == part
	r.mu.Unlock()
	if first {
		r.poke()
	}
}

// roundUp returns the first time after t that is a multiple of grid after the producer's start. So relays that lost a broker at the same
// time do not come back at the same time.
func (r *resends) roundUp(t time.Time, grid time.Duration) time.Time {
	return r.began.Add((t.Sub(r.began)/grid + 1) * grid)
}

// poke makes run check its lanes again.
func (r *resends) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run hands on each lane when its wait is over, until the producer is closed.
func (r *resends) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.p.ctx.Done():
			return
		case <-timer.C:
		case <-r.wake:
		}
		resend, renew, next := r.ready(time.Now())
		r.p.findLeaders(resend)
		r.p.ids.renew(renew)
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// ready removes and returns the lanes that have waited long enough. next is when the next ones will have; zero: there are none.
func (r *resends) ready(now time.Time) (resend, renew []*partition, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	refreshing := r.refreshing
	r.refreshing = nil
	for _, e := range refreshing {
		next = r.sort(e, now, &resend, &renew, next)
	}
	for len(r.pausing) > 0 && !now.Before(r.pausing[0].due) {
		next = r.sort(heap.Pop(&r.pausing).(*waiting), now, &resend, &renew, next)
	}
	if len(r.pausing) > 0 {
		next = earlier(next, r.pausing[0].due)
	}
	return resend, renew, next
}

// sort puts a lane whose pause is over into the list that it belongs to. It returns next, or the time at which to sort the lane again if
// that is earlier.
func (r *resends) sort(e *waiting, now time.Time, resend, renew *[]*partition, next time.Time) time.Time {
	until := e.due.Add(refreshWait)
	switch {
	case !over(e.refresh) && now.Before(until):
		r.refreshing = append(r.refreshing, e)
		return earlier(next, until)
	case e.renew:
		*renew = append(*renew, e.part)
	default:
		*resend = append(*resend, e.part)
	}
	return next
}

// earlier returns the earlier of two times. A zero a means no time.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// over reports whether a refresh has ended.
func over(refresh <-chan struct{}) bool {
	if refresh == nil {
		return true
	}
	select {
	case <-refresh:
		return true
	default:
		return false
	}
}

// pauses is a heap. The first lane is the one whose pause ends first.
type pauses []*waiting

func (h pauses) Len() int           { return len(h) }
func (h pauses) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h pauses) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *pauses) Push(x any)        { *h = append(*h, x.(*waiting)) }
func (h *pauses) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
