package parking

import (
	"cmp"
	"time"

	"walpost/internal/reason"
)

// Block makes all events of a topic wait in the table, because the topic takes no records. From now on they have the verdict Wait, except
// those of parked keys. code and detail say why, and cure what a person can do. The parker publishes the events when the topic takes
// records again.
func (p *Parker) Block(topic string, code reason.Code, detail, cure string) {
	if p.keys.block(Waiting{Topic: topic, Code: code, Detail: detail, Cure: cure, Since: time.Now()}) {
		p.alarm(topic)
	}
}

// Absorb makes the events of these keys wait for their topic, and not for a person. Nothing happens to a key that is not parked.
func (p *Parker) Absorb(topic string, keys [][]byte) { p.keys.absorb(topic, keys) }

// Blocked reports whether a topic's events wait.
func (p *Parker) Blocked(topic string) bool { return p.keys.blocked(topic) }

// Stalled notes that an attempt to send events of a topic has failed; named says that the error is a condition of the topic. It reports whether
// events that wait for another attempt have to go through the sieve again.
func (p *Parker) Stalled(topic string, named bool) bool { return p.keys.stalled(topic, named) }

// Alarm is what needs a person.
type Alarm struct {
	Code  reason.Code
	Text  string // the object, the cause and the cure
	Since time.Time
}

// Alarms returns what needs a person. The log has the same.
func (p Parked) Alarms(now time.Time) (all []Alarm) {
	if !p.WaitsSince.IsZero() && now.Sub(p.WaitsSince) >= alarmAfter {
		all = append(all, Alarm{p.WaitsCode, p.Why(), p.WaitsSince})
	}
	for _, w := range p.Topics {
		text := "topic " + w.Topic + " takes no records: " + cmp.Or(w.Detail, string(w.Code))
		if w.Cure != "" {
			text += "; " + w.Cure
		}
		all = append(all, Alarm{w.Code, text, w.Since})
	}
	return all
}

// alarms logs the topics that take no records, again and again.
func (p *Parker) alarms() {
	for _, w := range p.keys.waiting() {
		if time.Since(w.alarmed) >= alarmAgain {
			p.alarm(w.Topic)
		}
	}
}

// alarm logs that a topic takes no records.
func (p *Parker) alarm(topic string) {
	w, found := p.keys.alarmed(topic, time.Now())
	if !found {
		return
	}
	args := []any{"topic", w.Topic, "reason", w.Code, "events", w.Events, "bytes", w.Bytes, "for", time.Since(w.Since).Round(time.Second)}
	if w.Detail != "" {
		args = append(args, "detail", w.Detail)
	}
	if w.Cure != "" {
		args = append(args, "cure", w.Cure)
	}
	p.cfg.Log.Error("a topic takes no records: its events are parked, and all others flow; walpost publishes them when the topic takes records again", args...)
}
