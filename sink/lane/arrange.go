package lane

import (
	"time"

	"walpost/sink/recordbatch"
)

// AppendWaiting appends an event that waited for its partition. It has been a record since, and holds so many bytes.
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

// Refuse lets no pass begin to write to the lane.
func (l *Lane) Refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitions = 0
}

// Accept lets passes write to the lane, one of so many.
func (l *Lane) Accept(partitions int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitions, l.gone = partitions, false
	if l.state == vacant {
		l.state = idle
	}
}

// SetGone says whether the partition is no more. It returns true if it is there again and the lane has to be routed.
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

// StopIfGone ends the driving of a lane whose partition is no more. Only whoever drives the lane calls it.
func (l *Lane) StopIfGone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone && l.state == queued {
		l.state = vacant
	}
	return l.state == vacant
}

// Settled tells that nothing of the lane can reach its partition any more; with same, which says that events are placed as before, only
// that no pass is writing to it. What stands behind a rejected event is never settled.
func (l *Lane) Settled(same bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.taken && (same || l.state == idle || l.state == vacant && l.gone)
}

// GiveBack empties a lane whose partition is no more, in order. Its sequences stay behind.
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

// Wake queues an idle lane that has work. The caller routes it if it returns true.
func (l *Lane) Wake() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queueIfIdle()
}
