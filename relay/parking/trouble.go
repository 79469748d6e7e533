package parking

import (
	"context"
	"time"

	"walpost/relay/pgerror"
)

// trouble is why nothing of a topic is published, or why that is not recorded.
type trouble struct {
	waiting
	seen time.Time // when it was last seen
}

// troubleStays is how long a trouble counts after it was last seen: what was given back may have been discarded meanwhile.
const troubleStays = time.Minute

// notPublished is what a trouble means for people.
const notPublished = "parked events cannot be published, or that cannot be recorded"

// tell notes and logs why walpost.dead_letters cannot be read or written for a topic, once for each reason, and again as an alarm; a nil err: it can.
// Topic "" stands for a look at all topics: that alone keeps nothing waiting, so it gives no alarm.
func (p *Parker) tell(ctx context.Context, holder, topic string, err error) {
	if ctx.Err() != nil || !p.stillHolds(holder) {
		return
	}
	if err == nil {
		p.mu.Lock()
		delete(p.told, topic)
		p.mu.Unlock()
		return
	}
	text := err.Error()
	err = p.cfg.Classify(err)
	now := time.Now()
	p.mu.Lock()
	t := p.told[topic]
	if t == nil || now.Sub(t.seen) > troubleStays {
		t = &trouble{waiting: waiting{since: now}}
		p.told[topic] = t
	}
	is := t.text != text
	t.text, t.code, t.seen = text, pgerror.Reason(err), now
	rings, since := topic != "" && t.rings(), t.since
	p.mu.Unlock()
	switch {
	case rings:
		p.cfg.Log.Error(notPublished+"; walpost tries again", "topic", topic, "reason", t.code, "err", err, "for", now.Sub(since).Round(time.Second))
	case is:
		p.cfg.Log.Warn(notPublished+"; walpost tries again", "topic", topic, "reason", t.code, "err", err)
	}
}

// oldestTrouble returns what has kept something of a topic from being published for the longest time, nil if nothing does.
func (p *Parker) oldestTrouble() (oldest *waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for topic, t := range p.told {
		if topic != "" && time.Since(t.seen) <= troubleStays && (oldest == nil || t.since.Before(oldest.since)) {
			w := t.waiting
			oldest = &w
		}
	}
	return oldest
}
