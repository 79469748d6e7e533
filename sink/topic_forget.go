package sink

import "time"

const (
	// forgetAfter is how long a topic may go without an event before it is forgotten: topics that rows name are made up by rows, and there is
	// no end to them. Forgotten are its lanes, its looks and its metrics.
	forgetAfter = 24 * time.Hour
	// forgetAtOnce is how many are forgotten at once: it is the reading goroutine that does it.
	forgetAtOnce = 100
	// maxTopics is how many topics a producer knows at once.
	maxTopics = 10_000
)

// findSilent offers topics that have had no event for long to the publishing goroutine, which alone can forget them.
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

// forget lets go of silent topics that have no event in the pass that ends, and none on its way. Publishing goroutine.
func (p *Producer) forget(silent []*topic) {
	var names []string
	for _, t := range silent {
		if p.topics[t.name] != t || !t.end() {
			continue
		}
		// Its partitions have sequences of the id that new lanes begin with. Were they used again for other events, should the topic come
		// back, the broker would take those for duplicates.
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

// end ends a topic if nothing of it is on its way. Publishing goroutine.
func (t *topic) end() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dirty || t.partitions.Load() == nil || len(t.waiting) > 0 {
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
