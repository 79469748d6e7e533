package admin

import (
	"net/http"
	"time"

	"walpost/cmd/walpost/internal/report"
	"walpost/relay"
)

// report puts together what is known at this moment.
func (a *Server) report(now time.Time) report.Report {
	ready := a.readiness(now)
	r := report.Report{Version: a.version, Role: string(relay.Starting), Ready: ready.ready(), ReasonCode: ready.code, Reason: ready.text,
		BlockedTopics: []report.BlockedTopic{}}
	if w, ok := a.sink.Load().(watchedSink); ok {
		s := w.status()
		r.Slot.Name = w.slot
		r.EventsPerSecond = &report.Rates{Last10s: a.publishedRate.rate(now, s.Published, 10*time.Second), Last1m: a.publishedRate.rate(now, s.Published, time.Minute)}
		r.Events = &report.Events{Published: s.Published}
		for _, b := range s.Blocked {
			r.BlockedTopics = append(r.BlockedTopics, report.BlockedTopic{Topic: b.Name, Seconds: b.For.Seconds()})
		}
	}
	if state, ok := a.relay.Load().(func() relay.State); ok {
		r.SetRelay(state(), now)
	}
	if a.leaving.Load() {
		r.Role, r.Since = "stopping", nil
	}
	return r
}

// serveStatus answers /api/status. Behind loopback without a login, the name that the asker uses for this machine must be one that no page
// of a browser can have: a page whose own name suddenly means 127.0.0.1 could read the answer.
func (a *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	if !a.hasLogin && !isAddressOrLocalhost(r.Host) {
		writeJSON(w, http.StatusForbidden, map[string]string{"error": "ask by an IP address or as localhost"})
		return
	}
	writeJSON(w, http.StatusOK, a.report(time.Now()))
}
