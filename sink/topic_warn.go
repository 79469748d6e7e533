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
	mu   sync.Mutex // innermost, see Producer.mu
	last map[reason.Code]time.Time
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

// warn logs that what has waited since then, and why. It logs at once if an operator must act, and otherwise after two seconds.
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
		p.log.Warn("taking a new producer id for a partition: events that were under way may arrive twice", "topic", t.name, "partition", part.index, "err", err)
	}
}
