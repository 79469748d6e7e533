package admin

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"walpost/relay"
	"walpost/sink"
)

// maxAckWait is how long events may wait for an ack before the relay counts as not ready.
const maxAckWait = 10 * time.Second

// readiness returns the answer of /readyz: whether the relay does what it is there for, which is to stream, or to stand by behind one that
// does.
func (a *Server) readiness(now time.Time) (int, map[string]string) {
	reason := ""
	state, ok := a.relay.Load().(func() relay.State)
	switch {
	case a.leaving.Load():
		reason = "stopping"
	case !ok:
		reason = "starting"
	default:
		s := state()
		overdue := a.overdue(now, &s)
		switch {
		case s.Role != relay.Leader && s.Role != relay.Standby:
			if reason = a.sinkOpening(); reason == "" {
				reason = s.Reason
			}
			if reason == "" {
				reason = string(s.Role)
			}
		case overdue != "":
			reason = overdue
		default:
			body := map[string]string{"role": string(s.Role)}
			if s.Role == relay.Leader && s.Reason != "" { // it streams, and the server is at work on something large
				body["reason"] = s.Reason
			}
			return http.StatusOK, body
		}
	}
	return http.StatusServiceUnavailable, map[string]string{"reason": reason}
}

// sinkOpening says what a sink that is being opened waits for, which the relay cannot know; "": none is.
func (a *Server) sinkOpening() string {
	if w, ok := a.sink.Load().(watchedSink); ok {
		if err := w.status().Opening; err != nil {
			return oneLine(err)
		}
	}
	return ""
}

// oneLine writes an error on one line: some that libraries put together have several.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// overdue says which events have waited too long for their ack; "": none has. A topic that flows does not make up for one that does not.
func (a *Server) overdue(now time.Time, s *relay.State) string {
	var waits []sink.Wait
	if w, ok := a.sink.Load().(watchedSink); ok {
		waits = w.status().Waits
	}
	var parts []string
	more := 0
	for _, w := range waits {
		age := now.Sub(w.Since)
		switch {
		case age < maxAckWait:
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
	case !s.UnackedSince.IsZero() && age >= maxAckWait:
		return fmt.Sprintf("Kafka has acknowledged nothing for %s; %d events wait", age.Round(time.Second), s.Unacked)
	}
	return ""
}

// topicsNamed is how many topics a reason names.
const topicsNamed = 3
