package admin

import (
	"net/http"
	"time"

	"walpost/cmd/walpost/internal/config"
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

// serveStatus answers /api/status, which tells of tables, topics and errors: that is not for everybody on the network. Behind loopback without a
// login, the name that the asker uses for this machine must be one that no page of a browser can have: a page whose own name suddenly means
// 127.0.0.1 could read the answer.
func (a *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	switch known := a.loggedIn(r); {
	case !known && !isLoopback(a.addr):
		http.NotFound(w, r)
	case !known && !isAddressOrLocalhost(r.Host):
		writeJSON(w, http.StatusForbidden, map[string]string{"error": "ask by an IP address or as localhost"})
	default:
		writeJSON(w, http.StatusOK, a.report(time.Now()))
	}
}

// loggedIn reports whether admin.web_config has made sure who asks: by a certificate that was verified, or by a password. A file alone does
// neither, and one that takes any certificate takes one that the asker made himself. The file is looked at for each request, as the server
// does that checks passwords: users may be taken out of it.
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
