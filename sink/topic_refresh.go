package sink

import (
	"maps"
	"slices"
	"time"

	"walpost/sink/metadata"
)

// Times for refreshing topics without an error as the reason.
const (
	refreshTopicsEvery = time.Minute     // how often topics are refreshed, to use partitions that were added and a limit that was raised
	confirmFewerFor    = 2 * time.Second // how long brokers have to report fewer partitions before that is believed
)

// register adds a topic to those that are refreshed, and that status and metrics show. Only the publishing goroutine calls it.
func (p *Producer) register(t *topic) {
	p.mu.Lock()
	p.known[t.name] = t
	p.mu.Unlock()
	p.registered.Do(func() {
		p.metrics.addProducer(p)
		p.start(p.refreshTopics)
	})
}

// refreshTopics refreshes all topics at intervals, until the producer is closed. It never creates a topic: otherwise a deleted topic that
// gets no events would come back.
func (p *Producer) refreshTopics() {
	for p.sleep(p.refreshEvery) {
		var names []string
		topics := p.knownTopics()
		for _, t := range topics {
			names = append(names, t.name)
		}
		if !p.wait(p.meta.RefreshAll(names, metadata.Settings)) {
			return
		}
		for _, t := range topics {
			if t.partitions.Load() != nil {
				t.grow(p)
			}
		}
		p.findSilent(topics)
	}
}

// refreshed is called after each refresh of topics, by the goroutine that refreshes. A topic that was forgotten during the refresh is
// forgotten once more. If it comes back, it joins the next refresh, which does not begin before this method returns.
func (p *Producer) refreshed(names []string) {
	p.mu.Lock()
	for id, s := range p.senders {
		if p.meta.Gone(s.broker) { // its lanes go to the present leader
			s.close()
			delete(p.senders, id)
		}
	}
	p.mu.Unlock()
	for _, name := range names {
		p.mu.Lock()
		t := p.known[name]
		p.mu.Unlock()
		switch {
		case t == nil:
			p.meta.Forget(name)
		case t.partitions.Load() != nil:
			t.checkCount(p)
		}
	}
}

// refresh joins the next refresh for a topic that has events. If brokers may create topics, a deleted topic is created again.
func (p *Producer) refresh(t *topic) <-chan struct{} {
	want := metadata.Want(0)
	if p.cfg.AutoCreateTopics {
		want = metadata.Create
	}
	return p.meta.Refresh(t.name, want)
}

// wait waits for the end of a refresh. It returns false if the producer is closed.
func (p *Producer) wait(refresh <-chan struct{}) bool {
	select {
	case <-refresh:
		return p.ctx.Err() == nil
	case <-p.ctx.Done():
		return false
	}
}

func (p *Producer) knownTopics() []*topic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.known))
}
