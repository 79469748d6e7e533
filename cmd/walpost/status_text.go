package main

import (
	"fmt"
	"strings"
	"time"

	"walpost/internal/bytesize"
)

// screen returns a relay's state as text for people.
func (v *statusView) screen(now time.Time) string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{name}, args...)...)
	}
	row("relay", "%s", v.headline(now))
	if v.Reason != "" {
		row("reason", "%s", v.Reason)
	}
	row("slot", "%s", v.slotLine(now))
	if o := v.postgres; o != nil && o.Phase != "" {
		row("recorded", "%s", recorded(o.Phase, o.Confirmed, o.ConfirmedAt, now))
	}
	if v.LagSeconds != nil {
		row("lag", "%s", seconds(*v.LagSeconds))
	}
	if r := v.EventsPerSecond; r != nil {
		row("throughput", "%s events/s over 10 s, %s over 1 min", rate(r.Last10s), rate(r.Last1m))
	}
	if f := v.InFlight; f != nil {
		row("in flight", "%d events, %s of %s", f.Events, bytesize.Format(f.Bytes), bytesize.Format(f.LimitBytes))
	}
	if e := v.Events; e != nil {
		row("events", "%d received from the slot, %d published", e.Received, e.Published)
		row("last", "event %s, ack %s, confirmation %s", ago(v.LastEvent, now), ago(v.LastAck, now), ago(v.LastConfirm, now))
	}
	for _, t := range v.BlockedTopics {
		row("blocked", "topic %s, for %s", t.Topic, seconds(t.Seconds))
	}
	for _, t := range v.ParkedTopics {
		text := fmt.Sprintf("topic %s takes no records: %s, %s, for %s: %s", t.Topic, count(t.Events, "event"), bytesize.Format(t.Bytes), age(now.Sub(t.Since)), t.Reason)
		if t.Cure != "" {
			text += "; " + t.Cure
		}
		row("parked", "%s", text)
	}
	if text := v.parked(now); text != "" {
		row("parked", "%s", text)
	}
	return b.String()
}

// line returns a relay's state on one line.
func (v *statusView) line(now time.Time) string {
	parts := []string{now.Format(time.TimeOnly), v.headline(now)}
	if v.LagSeconds != nil && v.EventsPerSecond != nil && v.InFlight != nil {
		parts = append(parts, "lag "+seconds(*v.LagSeconds), rate(v.EventsPerSecond.Last10s)+" events/s", fmt.Sprintf("%d in flight", v.InFlight.Events))
	}
	parts = append(parts, v.slotLine(now))
	for _, t := range v.BlockedTopics {
		parts = append(parts, "topic "+t.Topic+" blocked for "+seconds(t.Seconds))
	}
	for _, t := range v.ParkedTopics {
		parts = append(parts, "topic "+t.Topic+" parked: "+count(t.Events, "event"))
	}
	if text := v.parked(now); text != "" {
		parts = append(parts, "parked: "+text)
	}
	if v.Reason != "" {
		parts = append(parts, v.Reason)
	}
	return strings.Join(parts, " | ") + "\n"
}

// parked says what is parked, "" for nothing.
func (v *statusView) parked(now time.Time) string {
	d := v.DeadLetters
	if d == nil || d.Events == 0 && d.Keys == 0 && d.Waits == "" {
		return ""
	}
	text := eventsOf(d.Events, int64(d.Keys))
	if d.Oldest != nil {
		text += ", the oldest for " + age(now.Sub(*d.Oldest))
	}
	text += ": walpost dead-letter list"
	if d.Waits != "" {
		text += "; " + d.Waits
	}
	return text
}

func (v *statusView) headline(now time.Time) string {
	s := v.Role
	if v.Role == "none" {
		return "no relay answers"
	}
	if v.Role == "" { // /readyz names no role while it is not ready
		s = "running"
	}
	if v.Since != nil {
		s += " for " + age(now.Sub(*v.Since))
	}
	if !v.Ready {
		s += ", not ready"
	}
	if v.Version != "" {
		s += ", walpost " + v.Version
	}
	return s
}

func (v *statusView) slotLine(now time.Time) string {
	s := v.Slot
	switch {
	case s.Seen == nil && s.Name == "":
		return "not checked yet"
	case s.Seen == nil:
		return s.Name + ": not checked yet"
	case s.WALStatus == "":
		return s.Name + " does not exist"
	}
	text := s.Name + ": "
	if !s.Active {
		text += "nobody streams from it, "
	}
	text += fmt.Sprintf("wal_status %s, keeps %s of WAL", s.WALStatus, bytesize.Format(s.RetainedBytes))
	if s.SafeBytes != nil {
		text += fmt.Sprintf(", %s more are safe", bytesize.Format(*s.SafeBytes))
	} else if s.WALStatus != "lost" {
		text += " without a limit"
	}
	if s.ConfirmedLSN != "" {
		text += ", confirmed up to " + s.ConfirmedLSN
	}
	if s.ConfirmedLagBytes != nil {
		text += fmt.Sprintf(", %s behind", bytesize.Format(*s.ConfirmedLagBytes))
	}
	if old := now.Sub(*s.Seen); old > time.Minute {
		text += ", as of " + age(old) + " ago"
	}
	return text
}

func rate(r float64) string {
	if r < 10 {
		return fmt.Sprintf("%.1f", r)
	}
	return fmt.Sprintf("%.0f", r)
}
