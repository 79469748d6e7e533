package admin

import (
	"net/http"
	"time"

	"walpost/cmd/walpost/internal/config"
	"walpost/cmd/walpost/internal/report"
	"walpost/relay"
)

// report returns the relay's state at the moment now.
func (a *Server) report(now time.Time) report.Report {
	ready := a.readiness(now)
	r := report.Report{Version: a.version, Role: string(relay.Starting), Ready: ready.ready(), ReasonCode: ready.code, Reason: ready.text,
		BlockedTopics: []report.BlockedTopic{}, ParkedTopics: []report.ParkedTopic{}, Alarms: []report.Alarm{}}
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
	if a.stopping.Load() {
		r.Role, r.Since = "stopping", nil
	}
	return r
}

// serveStatus answers /api/status. The answer names tables, topics and errors, so not everybody on the network may see it. On loopback
// without a login, the request's Host must be an IP address or localhost. Otherwise a web page could read the answer: it would only have to
// make its own host name resolve to 127.0.0.1.
func (a *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	switch known := a.loggedIn(r); {
	case !known && !isLoopback(a.addr):
		http.NotFound(w, r)
	case !known && !isAddressOrLocalhost(r.Host):
		writeJSON(w, http.StatusForbidden, map[string]string{"error": "use an IP address or localhost in the URL"})
	default:
		writeJSON(w, http.StatusOK, a.report(time.Now()))
	}
}

// loggedIn reports whether admin.web_config has made the client prove its identity, by a verified certificate or by a password. A file
// alone proves nothing, and neither does a certificate that was not verified: the client can have made it itself. The file is read again
// for each request, because users may be removed from it; the server that checks passwords does the same.
func (a *Server) loggedIn(r *http.Request) bool {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	if _, _, asked := r.BasicAuth(); a.webConfig == "" || !asked {
		return false
	}
	users, err := config.WebConfigHasUsers(a.webConfig)
	return err == nil && users
}
