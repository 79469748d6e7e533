package sink

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"walpost/sink/kafkaerror"
)

// Wait is a topic whose events wait for Kafka.
type Wait struct {
	Topic string
	Since time.Time // when the oldest of them was handed over
	Err   error     // what Kafka said last of it; nil: nothing bad
	Cure  string    // what an operator can do about Err; "": time cures it
}

// waits returns the topics that have unacked events, those that have waited longest first.
func (m *sinkMetrics) waits() []Wait {
	longest := map[string]Wait{} // of the stream's producer and the backfill's
	for _, p := range m.open() {
		for _, t := range p.knownTopics() {
			w := t.wait()
			if other, ok := longest[t.name]; !w.Since.IsZero() && (!ok || w.Since.Before(other.Since)) {
				if kafkaerror.Classify(w.Err) == kafkaerror.Alarm {
					w.Cure = p.cfg.exact(kafkaerror.Cure(w.Err), t.name)
				}
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

// wait is what the topic's events wait for; Since is zero if there are none.
func (t *topic) wait() Wait {
	t.mu.Lock()
	lanes := t.every
	w := Wait{Topic: t.name, Err: t.err}
	if len(t.waiting) > 0 {
		w.Since = t.waiting[0].since
	}
	t.mu.Unlock()
	for _, l := range lanes {
		since, err := l.wait()
		if !since.IsZero() && (w.Since.IsZero() || since.Before(w.Since)) {
			w.Since, w.Err = since, err
		}
	}
	return w
}

// wait returns when the lane's oldest event was handed over, zero if it has none, and what keeps it.
func (l *lane) wait() (since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state == stopped: // a refused event is not for Kafka to take
		return time.Time{}, nil
	case len(l.numbered) > 0:
		since = l.numbered[0].since
	case len(l.full) > 0:
		since = l.full[0].since
	case l.open != nil:
		since = l.open.since
	default:
		since = l.since
	}
	if err = l.err; err == nil && l.state == flying {
		err = fmt.Errorf("no answer from broker %s", l.on.broker.Addr())
	}
	return since, err
}
