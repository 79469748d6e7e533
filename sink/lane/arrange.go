package lane

import (
	"time"

	"walpost/sink/recordbatch"
)

// AppendWaiting adds an event that waited until its partition was known. It is a record already, holds so many bytes, and was handed over
// at since. No pass is open, see Refuse and AtRest. The lane is not routed: see Wake.
func (l *Lane) AppendWaiting(r recordbatch.Raw, tx uint64, held int, named bool, since time.Time, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil && l.open.Len()+r.Len+recordbatch.Overhead > limit {
		l.full = append(l.full, l.open)
		l.open = nil
	}
	if l.open == nil {
		l.open = l.pool.get()
		l.open.since = since
	}
	l.open.AppendRaw(r, tx, held)
	if named {
		l.open.markNamed()
	}
}

// Refuse lets no pass begin, see Enter.
func (l *Lane) Refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitions = 0
}

// Accept lets passes begin again, for a topic of so many partitions.
func (l *Lane) Accept(partitions int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitions, l.gone = partitions, false
	if l.state == vacant {
		l.state = idle
	}
}

// SetGone says whether the partition is no more. It reports whether the caller has to route the lane, because it is there again.
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

// StopIfGone reports whether the partition is no more. Then the caller stops driving the lane, which is vacant.
func (l *Lane) StopIfGone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone && l.state == queued {
		l.state = vacant
	}
	return l.state == vacant
}

// AtRest reports whether nothing of the lane can reach its partition any more. With same, events are placed as before, and it reports only
// whether no pass is writing to the lane. A lane that is stopped is never at rest without same.
func (l *Lane) AtRest(same bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.taken && (same || l.state == idle || l.state == vacant && l.gone)
}

// Silent reports whether the lane has nothing and awaits nothing. Only the publishing goroutine can change that, so for it the answer stays
// true until it enters the lane.
func (l *Lane) Silent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.taken && (l.state == idle || l.state == vacant) && len(l.numbered)+len(l.full) == 0 && l.open == nil
}

// GiveBack empties a lane that is at rest, and returns its batches in order. Its identity stays, should the partition come back.
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

// Wake reports whether the caller has to route the lane, because it was idle and has work.
func (l *Lane) Wake() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queueIfIdle()
}
