package admin

import (
	"fmt"
	"strings"
	"time"

	"walpost/internal/reason"
	"walpost/relay"
	"walpost/sink"
)

// maxAckWait is how long events may wait for an ack before the relay counts as not ready.
const maxAckWait = 10 * time.Second

// readiness tells whether the relay is ready: it streams, or it stands by behind another relay that does.
type readiness struct {
	role relay.Role  // "": the relay is not ready
	code reason.Code // why it is not ready
	text string      // the reason for people: it names hosts, roles and topics
}

// readiness returns whether the relay is ready at the moment now.
func (a *Server) readiness(now time.Time) readiness {
	state, ok := a.relay.Load().(func() relay.State)
	switch {
	case a.stopping.Load():
		return readiness{code: reason.Stopping, text: "stopping"}
	case !ok:
		return readiness{code: reason.Starting, text: "starting"}
	}
	s := state()
	if s.Role != relay.Leader && s.Role != relay.Standby {
		if err := a.sinkOpening(); err != nil {
			return readiness{code: reason.Of(err), text: oneLine(err)}
		}
		return readiness{code: s.Code, text: s.Reason}
	}
	if code, text := a.overdue(now, &s); code != "" {
		return readiness{code: code, text: text}
	}
	if p := s.Parked; !p.WaitsSince.IsZero() && now.Sub(p.WaitsSince) >= maxAckWait {
		return readiness{code: p.WaitsCode, text: fmt.Sprintf("%s for %s: %s", p.What, now.Sub(p.WaitsSince).Round(time.Second), p.Waits)}
	}
	if s.Code == reason.StandbySlotAway { // no event comes, and for the service that is the same as one that waits
		return readiness{code: s.Code, text: s.Reason}
	}
	return readiness{role: s.Role}
}

// ready reports whether the relay is ready.
func (r *readiness) ready() bool { return r.role != "" }

// sinkOpening returns the error for which the opening of the sink waits; nil if no sink is being opened. The relay cannot know that error.
func (a *Server) sinkOpening() error {
	if w, ok := a.sink.Load().(watchedSink); ok {
		return w.status().Opening
	}
	return nil
}

// oneLine returns an error's text on one line: errors of some libraries have several.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// overdue says which topics have waited too long for an ack. The code is that of the topic that has waited longest; it is empty if no topic
// has. It does not help that other topics make progress.
func (a *Server) overdue(now time.Time, s *relay.State) (reason.Code, string) {
	var waits []sink.Wait
	if w, ok := a.sink.Load().(watchedSink); ok {
		waits = w.status().Waits
	}
	var parts []string
	code, more := reason.AcksOverdue, 0
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
			if len(parts) == 0 {
				code = w.Code
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
		return code, fmt.Sprintf("Kafka has not acknowledged events of %s; %d events wait", strings.Join(parts, ", "), s.Unacked)
	case !s.UnackedSince.IsZero() && age >= maxAckWait:
		return code, fmt.Sprintf("Kafka has acknowledged nothing for %s; %d events wait", age.Round(time.Second), s.Unacked)
	}
	return "", ""
}

// topicsNamed is the number of topics that a reason names at most.
const topicsNamed = 3
