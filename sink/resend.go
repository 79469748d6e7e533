package sink

import (
	"container/heap"
	"sync"
	"time"
)

// resends are the lanes whose driver has to wait before it goes on: for a pause to end, and for a look at the metadata. There may be ten
// thousand of them, so one goroutine waits for them all, and those that failed together come back together.
type resends struct {
	p     *Producer
	began time.Time // when the producer was made
	wake  chan struct{}

	mu      sync.Mutex // innermost, see Producer.mu
	pausing pauses
	looking []*waiting // whose pause is over, and whose look is not
}

// waiting is a lane that waits.
type waiting struct {
	part  *partition
	due   time.Time
	look  <-chan struct{} // nil: none is waited for
	renew bool            // it takes a new producer id first
}

const (
	// The end of a pause is rounded up, so that lanes share their next request: to a multiple of resendGrid, or of the pause's resendShare-th
	// part if that is more. Lanes that fail for long have failed at all times.
	resendGrid  = minBackoff
	resendShare = 4
	// lookWait is how long a pause is made longer by a look. Where every broker is away the leader that is known is tried again.
	lookWait = time.Second
)

// add lets a lane wait for a pause, and for a look that it has joined; nil: for none. It does not block.
func (r *resends) add(part *partition, pause time.Duration, look <-chan struct{}, renew bool) {
	due := time.Now()
	if pause > 0 {
		due = r.roundUp(due.Add(pause), max(resendGrid, pause/resendShare))
	}
	r.mu.Lock()
	heap.Push(&r.pausing, &waiting{part, due, look, renew})
	first := r.pausing[0].part == part
	r.mu.Unlock()
	if first {
		r.poke()
	}
}

// roundUp returns the first time after t that lies a multiple of grid behind the producer's start: relays that lost a broker at the same time
// do not come back at the same time.
func (r *resends) roundUp(t time.Time, grid time.Duration) time.Time {
	return r.began.Add((t.Sub(r.began)/grid + 1) * grid)
}

// poke lets run look again.
func (r *resends) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run hands the lanes on when their time has come, until the producer is closed.
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

// ready takes the lanes that have waited long enough, and returns when the next ones will have; zero: there are none.
func (r *resends) ready(now time.Time) (resend, renew []*partition, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	looking := r.looking
	r.looking = nil
	for _, e := range looking {
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

// sort puts a lane whose pause is over where it belongs, and returns next, or when the lane is to be sorted again if that is earlier.
func (r *resends) sort(e *waiting, now time.Time, resend, renew *[]*partition, next time.Time) time.Time {
	until := e.due.Add(lookWait)
	switch {
	case !over(e.look) && now.Before(until):
		r.looking = append(r.looking, e)
		return earlier(next, until)
	case e.renew:
		*renew = append(*renew, e.part)
	default:
		*resend = append(*resend, e.part)
	}
	return next
}

// earlier returns the earlier of two times, of which a may be zero: none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// over reports whether a look has ended.
func over(look <-chan struct{}) bool {
	if look == nil {
		return true
	}
	select {
	case <-look:
		return true
	default:
		return false
	}
}

// pauses is a heap: the lane whose pause ends first is first.
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
