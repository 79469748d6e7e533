package admin

import (
	"net"
	"net/http"
	"time"

	"walpost/cmd/walpost/internal/report"
	"walpost/relay"
)

// report puts together what is known at this moment.
func (a *Server) report(now time.Time) report.Report {
	code, body := a.readiness(now)
	r := report.Report{Version: a.version, Role: string(relay.Starting), Ready: code == http.StatusOK, Reason: body["reason"],
		BlockedTopics: []report.BlockedTopic{}}
	if f, ok := a.flow.Load().(flow); ok {
		s := f.sink()
		r.Slot.Name = f.slot
		r.EventsPerSecond = &report.Rates{Last10s: a.meter.rate(now, s.Published, 10*time.Second), Last1m: a.meter.rate(now, s.Published, time.Minute)}
		r.Events = &report.Events{Published: s.Published}
		for _, b := range s.Blocked {
			r.BlockedTopics = append(r.BlockedTopics, report.BlockedTopic{Topic: b.Name, Seconds: b.For.Seconds()})
		}
	}
	if state, ok := a.state.Load().(func() relay.State); ok {
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
	if !a.guarded && !local(r.Host) {
		answer(w, http.StatusForbidden, map[string]string{"reason": "ask by an IP address or as localhost"})
		return
	}
	answer(w, http.StatusOK, a.report(time.Now()))
}

// local tells whether host, with or without port, is an address or localhost.
func local(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return host == "localhost" || net.ParseIP(host) != nil
}

// loopback tells whether only this machine reaches addr.
func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
