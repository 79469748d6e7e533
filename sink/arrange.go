package sink

import (
	"time"

	"walpost/sink/recordbatch"
)

// lookAgain is the longest pause between two looks at a topic's partitions while they are being arranged.
const lookAgain = 250 * time.Millisecond

// reconsider lets the topic's events wait until its partitions have been looked at anew. t.mu is held.
func (t *topic) reconsider(p *Producer) {
	if t.lanes.Swap(nil) == nil {
		return // arrange is at work already
	}
	for _, l := range t.every[:t.count] {
		l.refuse()
	}
	p.start(func() { t.arrange(p) })
}

// compare looks at what is known of the partitions by now, and has them arranged anew if their number is another one.
func (t *topic) compare(p *Producer) {
	partitions, err := p.client.Partitions(t.name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && len(partitions) > 0 && len(partitions) != t.count {
		t.reconsider(p)
	}
}

// arrange asks for the topic's partitions until they are there, however long that takes, and places what waits for them. While it is at
// work no event gets a lane.
//
// A key's partition depends on their number. So when that changes, everything that was placed by the old one is acked before the first
// event is placed by the new one; a partition that is no more (the topic was deleted and created with fewer) gives back what it has.
func (t *topic) arrange(p *Producer) {
	wait := patience{p: p, what: "topic " + t.name, topic: t.name, since: time.Now(), said: new(time.Time)}
	var fewer time.Time // since when there have been too few
	limited := false
	for tries := 1; ; tries++ {
		_ = p.client.RefreshMetadata(t.name) // Partitions tells what came of it
		partitions, err := p.client.Partitions(t.name)
		count := len(partitions)
		t.mu.Lock()
		t.err = err
		before, needed := t.count, max(t.count, int(t.needs))
		t.mu.Unlock()
		switch {
		case err != nil || count == 0:
			p.metrics.retries.Inc()
			if !wait.pause(err) {
				return
			}
			tries, fewer = 0, time.Time{}
			continue
		case count >= needed:
			fewer = time.Time{}
		case fewer.IsZero():
			fewer = time.Now()
		}
		if before == 0 && !limited {
			limited = true
			t.readLimit(p)
		}
		// A broker that lags behind the others still tells of fewer: it has to be so for a while.
		if (fewer.IsZero() || time.Since(fewer) >= p.doubt) && t.rearrange(p, count) {
			return
		}
		if !p.sleep(min(minBackoff<<min(tries, 10), lookAgain)) {
			return
		}
	}
}

// rearrange places what waits among so many partitions, if nothing that was placed otherwise is left. Else it returns false.
func (t *topic) rearrange(p *Producer, count int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	had := t.every[:t.count]
	settled := true
	for i, l := range had {
		if l.leave(i >= count) {
			p.route(l)
		}
		settled = l.settled(count == t.count) && settled
	}
	if !settled {
		return false
	}
	if t.count != 0 && count != t.count {
		p.log.Info("the number of partitions has changed: keys are placed by the new one from now on", "topic", t.name, "partitions", count, "before", t.count)
	}
	var back []*unplaced
	for i := count; i < len(had); i++ {
		back = append(back, had[i].giveBack()...)
	}
	t.waiting = append(back, t.waiting...)
	for i := len(t.every); i < count; i++ {
		t.every = append(t.every, newLane(t, int32(i), p.id))
	}
	t.count = count
	lanes := t.every[:count:count]
	for _, l := range lanes {
		l.accept(count)
	}
	t.place(p, lanes)
	t.lanes.Store(&lanes)
	return true
}

// add appends a record that waited for its partition.
func (l *lane) add(pool *pool, r recordbatch.Raw, tx uint64, held int, named bool, since time.Time, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil && l.open.Len()+r.Len+recordbatch.Overhead > limit {
		l.full = append(l.full, l.open)
		l.open = nil
	}
	if l.open == nil {
		l.open = pool.get()
		l.open.since = since
	}
	l.open.AppendRaw(r)
	l.open.count(tx, held)
	if named {
		l.open.name()
	}
}

// refuse lets no pass begin to write to the lane.
func (l *lane) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of = 0
}

// accept lets passes write to the lane, one of so many.
func (l *lane) accept(partitions int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of, l.gone = partitions, false
	if l.state == vacant {
		l.state = idle
	}
}

// leave says whether the partition is no more. It returns true if it is there again and the lane has to be routed.
func (l *lane) leave(gone bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = gone
	if gone || l.state != vacant {
		return false
	}
	l.state = idle
	return l.wake()
}

// letGo ends the driving of a lane whose partition is no more. Only whoever drives the lane calls it.
func (l *lane) letGo() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone && l.state == queued {
		l.state = vacant
	}
	return l.state == vacant
}

// settled tells that nothing of the lane can reach its partition any more; with same, which says that events are placed as before, only
// that no pass is writing to it. What stands behind a rejected event is never settled.
func (l *lane) settled(same bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.out && (same || l.state == idle || l.state == vacant && l.gone)
}

// giveBack empties a lane whose partition is no more, in order. Its sequences stay behind.
func (l *lane) giveBack() []*unplaced {
	l.mu.Lock()
	defer l.mu.Unlock()
	batches := append(append(l.numbered, l.full...), l.open)
	l.numbered, l.full, l.open = nil, nil, nil
	l.unclear, l.failures, l.err, l.blocked, l.said = false, 0, nil, time.Time{}, time.Time{}
	var back []*unplaced
	for _, b := range batches {
		if b == nil {
			continue
		}
		u := &unplaced{batch: *b, explicit: make([]int32, b.Count())}
		for i := range u.explicit {
			u.explicit[i] = -1
			if b.isNamed(i) {
				u.explicit[i] = l.partition
			}
		}
		back = append(back, u)
	}
	return back
}
