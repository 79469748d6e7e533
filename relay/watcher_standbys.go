package relay

import (
	"walpost/internal/reason"
	"walpost/relay/postgres"
)

// noteStandbys shows and logs when Postgres sends nothing because it waits for a standby. The stream does not show that: the server sends
// keepalives, and they have the position of the last event.
func (w *watcher) noteStandbys(s *postgres.Slot) {
	r := w.relay
	why, cure := s.Held()
	text := why
	if why != "" {
		text += "; " + cure
	}
	switch {
	case !r.state.explain(reason.StandbySlotAway, text):
	case why != "":
		r.log.Warn(why, "reason", reason.StandbySlotAway, "cure", cure)
	default:
		r.log.Info("Postgres no longer waits for a standby")
	}
}
