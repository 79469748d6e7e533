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
	Err   error       // what Kafka said last of it; nil: nothing bad
	Code  reason.Code // the same as a code; "": nothing bad
	Cure  string      // what an operator can do about Err; "": time cures it
}

// waits returns the topics that have unacked events, those that have waited longest first.
func (m *sinkMetrics) waits() []Wait {
	longest := map[string]Wait{} // of the stream's producer and the backfill's
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

// wait returns what the topic's events wait for. Since is zero if none wait.
func (t *topic) wait() Wait {
	t.mu.Lock()
	partitions := t.all
	w := Wait{Topic: t.name, Err: t.err}
	if len(t.waiting) > 0 {
		w.Since = t.waiting[0].Since()
	}
	t.mu.Unlock()
	for _, part := range partitions {
		since, err := part.lane.Waiting()
		if !since.IsZero() && (w.Since.IsZero() || since.Before(w.Since)) {
			w.Since, w.Err = since, err
		}
	}
	return w
}
