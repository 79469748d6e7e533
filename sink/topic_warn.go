package sink

import (
	"fmt"
	"sync"
	"time"

	"walpost/internal/reason"
)

// warnings says when what was last logged of a topic. A topic may have ten thousand partitions, and an outage concerns them all: the log has
// one line a minute for each reason.
type warnings struct {
	mu   sync.Mutex // innermost, see Producer.mu
	last map[reason.Code]time.Time
}

// Keys among reasons, of what is logged and not waited for.
const (
	renewed  reason.Code = "renewed"   // a partition takes a new producer id
	setApart reason.Code = "set_apart" // a partition is sent apart
)

// due reports whether something may be logged for a reason, and counts it as logged.
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

// warn logs that something of the topic has waited since then, and why: at once if an operator must cure it, else from two seconds on.
func (t *topic) warn(p *Producer, what fmt.Stringer, since time.Time, err error) {
	if err == nil || p.ctx.Err() != nil {
		return
	}
	urgent, code := operatorCures(err), waitReason(err)
	if !urgent && time.Since(since) < warnAfter || !t.warned.due(code) {
		return
	}
	if urgent {
		p.log.Warn("waiting for "+what.String(), "reason", code, "err", err, "cure", p.cfg.cure(err, t.name))
		return
	}
	p.log.Warn("waiting for "+what.String(), "reason", code, "err", err, "for", time.Since(since).Round(time.Second))
}

// warnRenewal logs that a partition takes a new producer id.
func (t *topic) warnRenewal(p *Producer, part *partition, err error) {
	if t.warned.due(renewed) {
		p.log.Warn("taking a new producer id for a partition: what was under way may arrive twice", "topic", t.name, "partition", part.index, "err", err)
	}
}
