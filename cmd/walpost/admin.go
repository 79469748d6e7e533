package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"

	"walpost/cmd/walpost/internal/config"
	"walpost/relay"
	"walpost/sink"
)

// adminServer answers what runs walpost: is it alive, is it ready, how is it doing.
type adminServer struct {
	server  *http.Server  // nil: switched off
	addr    net.Addr      // where it listens
	failed  chan error    // a server that ended by itself
	state   atomic.Value  // func() relay.State, once there is a relay
	leaving atomic.Bool   // it is stopping
	served  chan struct{} // closed when the server has ended

	open    bool          // it shows more than health and metrics
	guarded bool          // admin.web_config says who may ask
	flow    atomic.Value  // flow, once there is a sink
	meter   meter         // of events that Kafka acknowledged
	done    chan struct{} // closed when the server is about to end
}

// startAdmin listens, so that a taken address ends the start, and serves.
func startAdmin(cfg config.Admin, registry *prometheus.Registry, log *slog.Logger) (*adminServer, error) {
	a := &adminServer{failed: make(chan error, 1), served: make(chan struct{}), done: make(chan struct{})}
	if cfg.Listen == "" {
		return a, nil
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf(`admin.listen: %s is taken by another process, perhaps another walpost; stop that, or name another address ("" for no server)`, cfg.Listen)
	}
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %w; name an address of this machine", err)
	}
	a.addr = listener.Addr()
	a.guarded = cfg.WebConfig != ""
	a.open = a.guarded || loopback(a.addr)
	a.server = &http.Server{Handler: a.routes(registry), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	toolkit := slog.New(slog.DiscardHandler) // it greets with three lines where one does
	log.Info("admin server listens", "address", a.addr.String(), "web_config", cfg.WebConfig)
	go func() {
		defer close(a.served)
		err := web.Serve(listener, a.server, &web.FlagConfig{WebConfigFile: &cfg.WebConfig}, toolkit)
		if !errors.Is(err, http.ErrServerClosed) {
			a.failed <- err
		}
	}()
	return a, nil
}

func (a *adminServer) routes(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	// Alive is whoever answers: looking at Postgres or Kafka here would make an orchestrator restart every relay during their outages.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		code, body := a.readiness(time.Now())
		answer(w, code, body)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	if a.open { // the rest tells of tables, topics and errors, which is not for everybody on the network
		mux.HandleFunc("GET /api/status", a.serveStatus)
	}
	return mux
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // an error means that whoever asked has gone
}

// ackPatience is how long events may wait for an ack before the relay counts as not ready.
const ackPatience = 10 * time.Second

// readiness says whether the relay does what it is there for: it streams, or stands by behind one that does.
func (a *adminServer) readiness(now time.Time) (int, map[string]string) {
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
func (a *adminServer) opening() string {
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
func (a *adminServer) late(now time.Time, s *relay.State) string {
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

// watch makes the relay's state visible.
func (a *adminServer) watch(state func() relay.State) { a.state.Store(state) }

// flow is where events come from and what has become of them.
type flow struct {
	slot string
	sink func() sink.Status
}

// watchSink makes visible what the sink does for the slot.
func (a *adminServer) watchSink(slot string, status func() sink.Status) {
	a.flow.Store(flow{slot, status})
	if a.server != nil {
		go a.meter.watch(func() int64 { return status().Published }, a.done)
	}
}

// leave says from now on that the relay is stopping.
func (a *adminServer) leave() { a.leaving.Store(true) }

// close ends the server; whoever is being answered has a second.
func (a *adminServer) close() {
	if a.server == nil {
		return
	}
	close(a.done)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if a.server.Shutdown(ctx) != nil {
		a.server.Close()
	}
	<-a.served
}
