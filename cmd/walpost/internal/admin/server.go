// Package admin serves the state of a relay over HTTP.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
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

// Server answers what runs walpost: is it alive, is it ready, how is it doing.
type Server struct {
	version string        // of this binary
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

// Start listens, so that a taken address ends the start, and serves.
func Start(cfg config.Admin, version string, registry *prometheus.Registry, log *slog.Logger) (*Server, error) {
	a := &Server{version: version, failed: make(chan error, 1), served: make(chan struct{}), done: make(chan struct{})}
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

func (a *Server) routes(registry *prometheus.Registry) http.Handler {
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

// WatchRelay makes the relay's state visible.
func (a *Server) WatchRelay(state func() relay.State) { a.state.Store(state) }

// flow is where events come from and what has become of them.
type flow struct {
	slot string
	sink func() sink.Status
}

// WatchSink makes visible what the sink does for the slot.
func (a *Server) WatchSink(slot string, status func() sink.Status) {
	a.flow.Store(flow{slot, status})
	if a.server != nil {
		go a.meter.watch(func() int64 { return status().Published }, a.done)
	}
}

// Leave says from now on that the relay is stopping.
func (a *Server) Leave() { a.leaving.Store(true) }

// Failed returns a channel that gets the error of a server that ended by itself.
func (a *Server) Failed() <-chan error { return a.failed }

// Close ends the server; whoever is being answered has a second.
func (a *Server) Close() {
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
