// Package admin is the HTTP server of a running relay: /livez and /readyz for orchestrators, /metrics for Prometheus, /api/status for
// people and programs.
//
// It answers from its start on: before there is a relay, /readyz says that it is starting. It asks neither Postgres nor Kafka, it reports
// what the functions given to [Server.WatchRelay] and [Server.WatchSink] return; those must return at once and may be called from any
// goroutine. /livez and /readyz never need a password. Beyond loopback it shows /api/status only to whom admin.web_config asked for a password
// or a certificate.
//
// Its caller ends the process when the server fails ([Server.Failed]), says when the relay stops ([Server.Leave]), and closes the server.
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
	"golang.org/x/net/netutil"

	"walpost/cmd/walpost/internal/config"
	"walpost/internal/reason"
	"walpost/relay"
	"walpost/sink"
)

// Server answers whether the process is alive, whether the relay is ready, and how it is doing.
type Server struct {
	version string        // of this binary
	server  *http.Server  // nil: switched off
	addr    net.Addr      // where it listens
	failed  chan error    // gets the error of a server that ended by itself
	done    chan struct{} // closed when the server is about to end
	served  chan struct{} // closed when the server has ended

	webConfig string // the file of admin.web_config; "": none

	relay         atomic.Value // func() relay.State, once there is a relay
	sink          atomic.Value // watchedSink, once there is a sink
	publishedRate rateMeter    // of events that Kafka acknowledged
	leaving       atomic.Bool  // the relay is stopping
}

// limits bound what clients can take of the relay: its descriptors and its memory. Connections that are not closed live for ever otherwise, be
// it by a slow client, a broken one, or one that is gone without a word.
type limits struct {
	connections int           // at the same time; more wait, which net/http has no setting for
	header      time.Duration // for the TLS handshake, and for a request's header
	read        time.Duration // for a whole request
	write       time.Duration // from the header on, for the answer
	idle        time.Duration // between two requests
}

// defaultLimits leave room for a scrape of many topics over a slow line. Idle connections go soon, so that probes never wait for long behind
// them.
var defaultLimits = limits{connections: 64, header: 5 * time.Second, read: 10 * time.Second, write: 30 * time.Second, idle: 10 * time.Second}

// maxHeader is how large a request's header may be, in bytes.
const maxHeader = 16 << 10

// Start listens at cfg.Listen and serves; the error of an address that cannot be had is returned here. With an empty cfg.Listen there is no
// server, and the methods do nothing. version is what the status reports.
func Start(cfg config.Admin, version string, registry *prometheus.Registry, log *slog.Logger) (*Server, error) {
	return startLimited(cfg, version, registry, log, defaultLimits)
}

func startLimited(cfg config.Admin, version string, registry *prometheus.Registry, log *slog.Logger, limits limits) (*Server, error) {
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
	a.webConfig = cfg.WebConfig
	listener = netutil.LimitListener(listener, limits.connections)
	a.server = &http.Server{
		Handler:           a.routes(registry),
		ReadHeaderTimeout: limits.header, ReadTimeout: limits.read, WriteTimeout: limits.write, IdleTimeout: limits.idle, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	// The toolkit replaces the handler by its own, which checks passwords. This is called after that and before the first connection.
	a.server.BaseContext = func(net.Listener) context.Context {
		a.server.Handler = a.probesBefore(a.server.Handler)
		return context.Background()
	}
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
	mux := a.probes()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("GET /api/status", a.serveStatus)
	return mux
}

// probes serves what orchestrators ask for.
func (a *Server) probes() *http.ServeMux {
	mux := http.NewServeMux()
	// A process that answers is alive: looking at Postgres or Kafka here would make an orchestrator restart every relay during their outages.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if r := a.readiness(time.Now()); r.ready() {
			writeJSON(w, http.StatusOK, map[string]relay.Role{"role": r.role})
		} else { // and no text: probes are for everybody on the network
			writeJSON(w, http.StatusServiceUnavailable, map[string]reason.Code{"reason": r.code})
		}
	})
	return mux
}

// probesBefore answers the probes itself and leaves every other path to guarded. Orchestrators send no password, and a rate limit that others
// have used up, or a web_config that has become unreadable, must not make them restart the relay (with TLS an unreadable one does: each
// connection takes its certificate from there). It knows the probes alone, so nothing else gets past the password.
func (a *Server) probesBefore(guarded http.Handler) http.Handler {
	probes := a.probes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/livez", "/readyz":
			probes.ServeHTTP(w, r)
		default:
			guarded.ServeHTTP(w, r)
		}
	})
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client has gone
}

// WatchRelay makes readiness and status report what state returns.
func (a *Server) WatchRelay(state func() relay.State) { a.relay.Store(state) }

// watchedSink is the sink that publishes a slot's events.
type watchedSink struct {
	slot   string
	status func() sink.Status
}

// WatchSink makes readiness and status report what status returns, which is of the sink that publishes the slot's events.
func (a *Server) WatchSink(slot string, status func() sink.Status) {
	a.sink.Store(watchedSink{slot, status})
	if a.server != nil {
		go a.publishedRate.watch(func() int64 { return status().Published }, a.done)
	}
}

// Leave makes readiness and status report from now on that the relay is stopping.
func (a *Server) Leave() { a.leaving.Store(true) }

// Failed returns a channel that receives the error of a server that ended other than by Close.
func (a *Server) Failed() <-chan error { return a.failed }

// Close ends the server. Requests that are being answered have a second.
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
