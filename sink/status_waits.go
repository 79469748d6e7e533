package sink

import (
	"cmp"
	"slices"
	"time"

	"walpost/internal/reason"
)

// Wait is a topic whose events wait for Kafka.
type Wait struct {
	Topic string
	Since time.Time   // when the oldest of them was handed over
	Err   error       // Kafka's last error for them; nil: none
	Code  reason.Code // reason code of Err; "": none
	Cure  string      // what an operator can do about Err; "": nothing, because it ends by itself
}

// waits returns the topics that have unacked events, those that have waited longest first.
func (m *sinkMetrics) waits() []Wait {
	longest := map[string]Wait{} // a topic can have events of the stream's producer and of the backfill's
	for _, p := range m.openProducers() {
		for _, t := range p.knownTopics() {
			w := t.wait()
			if other, ok := longest[t.name]; !w.Since.IsZero() && (!ok || w.Since.Before(other.Since)) {
				if w.Err != nil {
					w.Code = waitReason(w.Err)
				}
				w.Cure = p.cfg.cure(w.Err, t.name)
				longest[t.name] = w
			}
		}
	}
	var waits []Wait
	for _, w := range longest {
		waits = append(waits, w)
	}
	slices.SortFunc(waits, func(a, b Wait) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Topic, b.Topic)) })
	return waits
}

// wait returns what the topic's events wait for: the error is the one of the oldest event. Since is zero if no event waits.
func (t *topic) wait() Wait {
	w := Wait{Topic: t.name}
	t.eachWait(func(since time.Time, err error) {
		if w.Since.IsZero() || since.Before(w.Since) {
			w.Since, w.Err = since, err
		}
	})
	return w
}

// eachWait calls f for each part of the topic that has events which wait: since when the oldest of them does, and with which error.
func (t *topic) eachWait(f func(since time.Time, err error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) > 0 {
		f(t.waiting[0].Since(), t.err)
	}
	if missing := t.missing.events; len(missing) > 0 {
		f(missing[0].Since(), t.err)
	}
	for _, part := range t.all {
		if since, err := part.lane.Waiting(); !since.IsZero() {
			f(since, err)
		}
	}
}
