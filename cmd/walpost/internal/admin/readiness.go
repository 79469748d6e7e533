package admin

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"walpost/relay"
	"walpost/sink"
)

// ackPatience is how long events may wait for an ack before the relay counts as not ready.
const ackPatience = 10 * time.Second

// readiness says whether the relay does what it is there for: it streams, or stands by behind one that does.
func (a *Server) readiness(now time.Time) (int, map[string]string) {
	reason := ""
	state, ok := a.state.Load().(func() relay.State)
	switch {
	case a.leaving.Load():
		reason = "stopping"
	case !ok:
		reason = "starting"
	default:
		s := state()
		late := a.late(now, &s)
		switch {
		case s.Role != relay.Leader && s.Role != relay.Standby:
			if reason = a.opening(); reason == "" {
				reason = s.Reason
			}
			if reason == "" {
				reason = string(s.Role)
			}
		case late != "":
			reason = late
		default:
			return http.StatusOK, map[string]string{"role": string(s.Role)}
		}
	}
	return http.StatusServiceUnavailable, map[string]string{"reason": reason}
}

// opening says what a sink that is being opened waits for, which the relay cannot know; "": none is.
func (a *Server) opening() string {
	if f, ok := a.flow.Load().(flow); ok {
		if err := f.sink().Opening; err != nil {
			return oneLine(err)
		}
	}
	return ""
}

// oneLine tells an error on one line, which some that libraries put together are not.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// late says which events have waited too long for their ack; "": none has. A topic that flows does not make up for one that does not.
func (a *Server) late(now time.Time, s *relay.State) string {
	var waits []sink.Wait
	if f, ok := a.flow.Load().(flow); ok {
		waits = f.sink().Waits
	}
	var parts []string
	more := 0
	for _, w := range waits {
		age := now.Sub(w.Since)
		switch {
		case age < ackPatience:
		case len(parts) == topicsNamed:
			more++
		case w.Err != nil:
			why := oneLine(w.Err)
			if w.Cure != "" {
				why += "; " + w.Cure
			}
			parts = append(parts, fmt.Sprintf("topic %s for %s (%s)", w.Topic, age.Round(time.Second), why))
		default:
			parts = append(parts, fmt.Sprintf("topic %s for %s", w.Topic, age.Round(time.Second)))
		}
	}
	if more > 0 {
		parts = append(parts, fmt.Sprintf("%d more topics", more))
	}
	switch age := now.Sub(s.UnackedSince); {
	case len(parts) > 0:
		return fmt.Sprintf("Kafka has not acknowledged events of %s; %d events wait", strings.Join(parts, ", "), s.Unacked)
	case !s.UnackedSince.IsZero() && age >= ackPatience:
		return fmt.Sprintf("Kafka has acknowledged nothing for %s; %d events wait", age.Round(time.Second), s.Unacked)
	}
	return ""
}

// topicsNamed is how many topics a reason names.
const topicsNamed = 3
