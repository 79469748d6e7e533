package sink

import (
	"time"

	"walpost/sink/lane"
	"walpost/sink/metadata"
)

// arrangePause is the longest pause between two refreshes of a topic's partitions while they are being arranged.
const arrangePause = 250 * time.Millisecond

// reconsider makes the topic's events wait until its partitions have been refreshed. t.mu is held.
func (t *topic) reconsider(p *Producer) {
	if t.partitions.Swap(nil) == nil {
		return // arrange is running already
	}
	for _, part := range t.all[:t.count] {
		part.lane.Refuse()
	}
	p.start(func() { t.arrange(p) })
}

// checkCount arranges the partitions again if their number has changed since the last refresh.
func (t *topic) checkCount(p *Producer) {
	count, err := p.meta.Partitions(t.name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && count != t.count {
		t.reconsider(p)
	}
}

// arrange asks for the topic's partitions until they exist, however long that takes, and then places the waiting events. While it runs, no
// event gets a lane.
//
// A key's partition depends on the number of partitions. If that number changes, all events that were placed by the old number are acked
// before the first event is placed by the new one. A partition that no longer exists (because the topic was deleted and created with fewer)
// gives its events back.
func (t *topic) arrange(p *Producer) {
	since := time.Now()
	var fewer time.Time // since when there have been too few partitions
	failures := 0
	for tries := 1; ; tries++ {
		want := metadata.Settings
		if p.cfg.AutoCreateTopics {
			want |= metadata.Create
		}
		if !p.wait(p.meta.Refresh(t.name, want)) {
			return
		}
		count, err := p.meta.Partitions(t.name)
		t.mu.Lock()
		t.err = err
		before, lanes, ended := t.count, len(t.all), t.ended
		t.mu.Unlock()
		switch {
		case ended:
			return
		case err != nil:
			p.metrics.retries.Inc()
			failures++
			t.warn(p, t, since, err)
			if !p.sleep(pauseAfter(failures)) {
				return
			}
			tries, fewer = 0, time.Time{}
			continue
		case count >= before:
			fewer = time.Time{}
		case fewer.IsZero():
			fewer = time.Now()
		}
		failures = 0
		if before == 0 {
			t.readLimit(p)
		}
		var id lane.Identity
		if count > lanes {
			var ok bool
			id, ok = p.ids.forNewLanes(func(err error) {
				t.setError(err)
				t.warn(p, t, since, err)
			})
			if !ok {
				return
			}
			t.setError(nil)
		}
		// A broker that lags behind the others still reports fewer partitions. So fewer are believed only after a while.
		if (fewer.IsZero() || time.Since(fewer) >= p.confirmFewer) && t.rearrange(p, count, id) {
			t.recovered(p)
			return
		}
		if !p.sleep(min(minBackoff<<min(tries, 10), arrangePause)) {
			return
		}
	}
}

// setError records why the topic's events wait for its partitions.
func (t *topic) setError(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// rearrange places the waiting events among count partitions. New partitions begin with id. It returns false, and changes nothing, if
// events that were placed by another number of partitions are not acked yet.
func (t *topic) rearrange(p *Producer, count int, id lane.Identity) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	had := t.all[:t.count]
	atRest := true
	for i, part := range had {
		if part.lane.SetGone(i >= count) {
			p.route(part)
		}
		atRest = part.lane.AtRest(count == t.count) && atRest
	}
	if !atRest {
		return false
	}
	if t.count != 0 && count != t.count {
		p.log.Info("the number of partitions has changed: from now on, keys go to partitions by the new number", "topic", t.name, "partitions", count, "before", t.count)
	}
	var back []*unplaced
	for i := count; i < len(had); i++ {
		back = append(back, had[i].giveBack()...)
	}
	if count != t.count {
		back = append(back, t.missing.take()...)
	}
	t.waiting = append(back, t.waiting...)
	for i := len(t.all); i < count; i++ {
		t.all = append(t.all, &partition{lane: lane.New(id, &p.pool, p.sieveOf(t.name, int32(i))), topic: t, index: int32(i)})
	}
	t.count = count
	partitions := t.all[:count:count]
	// The waiting events are placed before the lanes open: the publishing goroutine may have loaded the partitions before they changed, and
	// it enters a lane as soon as that is open.
	t.place(p, partitions)
	for _, part := range partitions {
		part.lane.Accept(count)
	}
	t.wake(p, partitions)
	t.partitions.Store(&partitions)
	return true
}
