package sink

import "time"

const (
	// forgetAfter is how long a topic may go without an event before it is forgotten, with its lanes, its refreshes and its metrics. Rows
	// can name topics, and so make up any number of them.
	forgetAfter = 24 * time.Hour
	// forgetAtOnce is how many topics are forgotten at once, because the reading goroutine does it.
	forgetAtOnce = 100
	// maxTopics is how many topics a producer knows at once.
	maxTopics = 10_000
)

// findSilent passes topics without recent events to the publishing goroutine, which alone can forget them.
func (p *Producer) findSilent(topics []*topic) {
	var silent []*topic
	for _, t := range topics {
		if time.Since(time.Unix(t.used.Load(), 0)) > p.forgetAfter && len(silent) < forgetAtOnce {
			silent = append(silent, t)
		}
	}
	if len(silent) > 0 {
		p.silentTopics.Store(&silent)
	}
}

// forget removes silent topics that have no event in the pass that ends, and none that is unacked. Only the publishing goroutine calls it.
func (p *Producer) forget(silent []*topic) {
	var names []string
	for _, t := range silent {
		if known := p.topics[t.name]; known != nil && known != t || !t.end() { // nil: only dead letters went there
			continue
		}
		// The topic's partitions have sequences of the id that new lanes begin with. If the topic comes back, its lanes must not use these
		// sequences for other events: the broker would treat those as duplicates.
		p.ids.spend()
		delete(p.topics, t.name)
		p.last = nil
		p.mu.Lock()
		delete(p.known, t.name)
		p.mu.Unlock()
		p.meta.Forget(t.name)
		names = append(names, t.name)
	}
	if len(names) > 0 {
		p.metrics.forget(names)
	}
}

// end marks a topic as ended if it has no unacked events. Only the publishing goroutine calls it.
func (t *topic) end() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dirty || t.partitions.Load() == nil || len(t.waiting)+len(t.missing.events) > 0 {
		return false
	}
	for _, part := range t.all {
		if !part.lane.Silent() {
			return false
		}
	}
	t.ended = true
	return true
}
