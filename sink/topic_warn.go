package sink

import (
	"fmt"
	"sync"
	"time"

	"walpost/internal/reason"
)

// warnings records when each reason was last logged for a topic. An outage concerns all partitions of a topic, and these may be ten
// thousand. So the log has one line a minute for each topic and reason.
type warnings struct {
	mu    sync.Mutex // innermost, see Producer.mu
	last  map[reason.Code]time.Time
	since time.Time // since when events wait, as logged; zero: the log says nothing of the kind
}

// Further keys, for what is logged although nothing waits for it.
const (
	renewed  reason.Code = "renewed"   // a partition takes a new producer id
	setApart reason.Code = "set_apart" // a partition is sent apart
)

// due reports whether a line may be logged for a reason. If so, it counts as logged.
func (w *warnings) due(code reason.Code) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.last[code]) < warnEvery {
		return false
	}
	if w.last == nil {
		w.last = map[reason.Code]time.Time{}
	}
	w.last[code] = time.Now()
	return true
}

// begin notes that the log says since when events wait.
func (w *warnings) begin(since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		w.since = since
	}
}

// end returns since when events have waited, and whether the log says so. The next wait begins anew.
func (w *warnings) end() (since time.Time, logged bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	since, w.since = w.since, time.Time{}
	return since, !since.IsZero()
}

// warn logs that what has waited since then, and why. It logs at once if an operator must act, and otherwise after two seconds.
func (t *topic) warn(p *Producer, what fmt.Stringer, since time.Time, err error) {
	if err == nil || p.ctx.Err() != nil {
		return
	}
	urgent, code := operatorCures(err), waitReason(err)
	if !urgent && time.Since(since) < warnAfter || !t.warned.due(code) {
		return
	}
	t.warned.begin(since)
	if urgent {
		p.log.Warn("waiting for "+what.String(), "reason", code, "err", err, "cure", p.cfg.cure(err, t.name))
		return
	}
	p.log.Warn("waiting for "+what.String(), "reason", code, "err", err, "for", time.Since(since).Round(time.Second))
}

// warnRenewal logs that a partition takes a new producer id.
func (t *topic) warnRenewal(p *Producer, part *partition, err error) {
	if t.warned.due(renewed) {
		p.log.Warn("taking a new producer id for a partition: events that were under way may arrive twice", "topic", t.name, "partition", part.index, "err", err)
	}
}

// recovered logs that the topic's events flow again. It does nothing if the log does not say that they wait, or while one of its lanes
// still fails.
func (t *topic) recovered(p *Producer) {
	if t.failing.Load() > 0 || p.ctx.Err() != nil {
		return
	}
	if since, logged := t.warned.end(); logged {
		p.log.Info("events flow again", "topic", t.name, "after", time.Since(since).Round(time.Second))
	}
}

// fails notes that the lane has failed since its last ack. Only the lane's driver calls it.
func (part *partition) fails() {
	if !part.failed {
		part.failed = true
		part.topic.failing.Add(1)
	}
}
