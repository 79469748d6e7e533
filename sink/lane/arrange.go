package lane

import (
	"time"

	"walpost/sink/recordbatch"
)

// AppendWaiting adds an event that waited until its partition was known. The event is a record already, holds held bytes, and was handed
// over at since. No pass may be open, see Refuse and AtRest. AppendWaiting does not route the lane, see Wake.
func (l *Lane) AppendWaiting(r recordbatch.Raw, from Origin, held int, named bool, since time.Time, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil && l.open.Len()+r.Len+recordbatch.Overhead > limit {
		l.full = append(l.full, l.open)
		l.open = nil
	}
	if l.open == nil {
		l.open = l.pool.Get()
		l.open.since = since
	}
	l.open.AppendRaw(r, from, held)
	if named {
		l.open.MarkNamed()
	}
}

// Refuse prevents passes from beginning, see Enter.
func (l *Lane) Refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitions = 0
}

// Accept allows passes to begin again, for a topic with this number of partitions.
func (l *Lane) Accept(partitions int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitions, l.gone = int32(partitions), false
	if l.state == vacant {
		l.state = idle
	}
}

// SetGone records whether the partition no longer exists. It reports whether the caller has to route the lane, because the partition exists
// again.
func (l *Lane) SetGone(gone bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = gone
	if gone || l.state != vacant {
		return false
	}
	l.state = idle
	return l.queueIfIdle()
}

// StopIfGone reports whether the partition no longer exists. If so, the lane becomes vacant, and the caller stops driving it.
func (l *Lane) StopIfGone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone && l.state == queued {
		l.state = vacant
	}
	return l.state == vacant
}

// AtRest reports whether no event of the lane can reach its partition any more. With same, the number of partitions has not changed, and
// AtRest reports only whether no pass is writing to the lane. Without same, a stopped lane is never at rest.
func (l *Lane) AtRest(same bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.taken && (same || l.state == idle || l.state == vacant && l.gone)
}

// Silent reports whether the lane has no events and waits for no answer. Only the publishing goroutine can change that. So for that
// goroutine, the answer stays true until it enters the lane.
func (l *Lane) Silent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.taken && (l.state == idle || l.state == vacant) && len(l.numbered)+len(l.full) == 0 && l.open == nil
}

// GiveBack empties a lane that is at rest, and returns its batches in order. The lane keeps its identity, in case the partition comes back.
func (l *Lane) GiveBack() []*Batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	batches := append(l.numbered, l.full...)
	if l.open != nil {
		batches = append(batches, l.open)
	}
	l.numbered, l.full, l.open = nil, nil, nil
	l.unclear, l.failures, l.err, l.failingSince = false, 0, nil, time.Time{}
	return batches
}

// Wake reports whether the caller has to route the lane, because it was idle and now has events.
func (l *Lane) Wake() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queueIfIdle()
}
