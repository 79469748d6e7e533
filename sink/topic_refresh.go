package sink

import (
	"maps"
	"slices"
	"time"

	"walpost/sink/metadata"
)

// Times of looking at topics although no error says that they have changed.
const (
	refreshTopicsEvery = time.Minute     // how often topics are looked at: partitions that were added are used, a limit that was raised too
	confirmFewerFor    = 2 * time.Second // how long brokers have to tell of fewer partitions before that is believed
)

// register makes a topic one of those that are refreshed, and that status and metrics know of. Publishing goroutine.
func (p *Producer) register(t *topic) {
	p.mu.Lock()
	p.known[t.name] = t
	p.mu.Unlock()
	p.registered.Do(func() {
		p.metrics.addProducer(p)
		p.start(p.refreshTopics)
	})
}

// refreshTopics looks at all topics every so often, until the producer is closed. It creates none: one that was deleted, and gets no events,
// would come back.
func (p *Producer) refreshTopics() {
	for p.sleep(p.refreshEvery) {
		var names []string
		topics := p.knownTopics()
		for _, t := range topics {
			names = append(names, t.name)
		}
		if !p.wait(p.meta.LookAll(names, metadata.Settings)) {
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

// told is called after each look at topics, by the goroutine that looks. A topic that was forgotten while it was looked at is forgotten once
// more. Should it come back, it joins the next look, which does not begin before this returns.
func (p *Producer) told(names []string) {
	p.mu.Lock()
	for id, s := range p.senders {
		if p.meta.Gone(s.broker) { // what it has goes to the one that leads by now
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

// look joins the next look at a topic that has events. A topic that was deleted is created again where brokers may do that.
func (p *Producer) look(t *topic) <-chan struct{} {
	want := metadata.Want(0)
	if p.cfg.AutoCreateTopics {
		want = metadata.Create
	}
	return p.meta.Look(t.name, want)
}

// wait waits for the end of a look, and returns false once the producer is closed.
func (p *Producer) wait(look <-chan struct{}) bool {
	select {
	case <-look:
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
