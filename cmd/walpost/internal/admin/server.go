// Package admin is the HTTP server of a running relay: /livez and /readyz for orchestrators, /metrics for Prometheus, /api/status for
// people and programs.
//
// It answers as soon as it is started: before there is a relay, /readyz says that it is starting. It asks neither Postgres nor Kafka. It
// reports what the functions given to [Server.WatchRelay] and [Server.WatchSink] return; these must return at once and may be called from
// any goroutine. /livez and /readyz never need a password. Beyond loopback, the server shows /api/status only to clients from which
// admin.web_config has required a password or a certificate.
//
// The caller ends the process if the server fails ([Server.Failed]), tells the server when the relay stops ([Server.SetStopping]), and
// closes the server.
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

// Server answers whether the process is alive and whether the relay is ready, and shows the relay's state.
type Server struct {
	version string        // of this binary
	server  *http.Server  // nil: switched off
	addr    net.Addr      // where it listens
	failed  chan error    // receives the error of a server that ended by itself
	done    chan struct{} // closed when the server is about to end
	served  chan struct{} // closed when the server has ended

	webConfig string // the file that admin.web_config names; "": none

	relay         atomic.Value // func() relay.State, once there is a relay
	sink          atomic.Value // watchedSink, once there is a sink
	publishedRate rateMeter    // of events that Kafka acknowledged
	stopping      atomic.Bool  // the relay is stopping
}

// limits bound how many descriptors and how much memory of the relay clients can use. Without limits, the connection of a client that is
// slow, broken or silently gone would stay open for ever.
type limits struct {
	connections int           // at the same time; more connections wait. net/http has no setting for this
	header      time.Duration // for the TLS handshake, and for a request's header
	read        time.Duration // for a whole request
	write       time.Duration // for the answer, counted from the end of the header
	idle        time.Duration // between two requests
}

// defaultLimits leave enough time for a scrape of many topics over a slow line. Idle connections are closed soon, so that probes never wait
// long for a free connection.
var defaultLimits = limits{connections: 64, header: 5 * time.Second, read: 10 * time.Second, write: 30 * time.Second, idle: 10 * time.Second}

// maxHeader is how large a request's header may be, in bytes.
const maxHeader = 16 << 10

// Start listens at cfg.Listen and serves. It returns an error if it cannot listen there. If cfg.Listen is empty there is no server, and the
// methods do nothing. version is the version that the status reports.
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
		return nil, fmt.Errorf(`admin.listen: %s is used by another process, perhaps another walpost; stop that process, or set another address ("" for no server)`, cfg.Listen)
	}
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %w; set an address of this machine", err)
	}
	a.addr = listener.Addr()
	a.webConfig = cfg.WebConfig
	listener = netutil.LimitListener(listener, limits.connections)
	a.server = &http.Server{
		Handler:           a.routes(registry),
		ReadHeaderTimeout: limits.header, ReadTimeout: limits.read, WriteTimeout: limits.write, IdleTimeout: limits.idle, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	// The toolkit replaces the handler with its own, which checks passwords. BaseContext is called after that and before the first
	// connection.
	a.server.BaseContext = func(net.Listener) context.Context {
		a.server.Handler = a.probesBefore(a.server.Handler)
		return context.Background()
	}
	toolkit := slog.New(slog.DiscardHandler) // it would log three lines where one is enough
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

// probes serves the paths that orchestrators ask for.
func (a *Server) probes() *http.ServeMux {
	mux := http.NewServeMux()
	// A process that answers is alive. If this checked Postgres or Kafka, an orchestrator would restart every relay during their outages.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if r := a.readiness(time.Now()); r.ready() {
			writeJSON(w, http.StatusOK, map[string]relay.Role{"role": r.role})
		} else { // the code only, and no text: everybody on the network may read probes
			writeJSON(w, http.StatusServiceUnavailable, map[string]reason.Code{"reason": r.code})
		}
	})
	return mux
}

// probesBefore answers the probes itself and passes every other path to guarded. Orchestrators send no password. A rate limit that other
// clients have used up, or a web_config that has become unreadable, must not make them restart the relay. (With TLS an unreadable file
// still does, because the server reads the certificate from it for each connection.) The returned handler serves only the probes without a
// password.
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
	_ = json.NewEncoder(w).Encode(body) // an error means that the client has disconnected
}

// WatchRelay makes readiness and status report the state that state returns.
func (a *Server) WatchRelay(state func() relay.State) { a.relay.Store(state) }

// watchedSink is the sink that publishes a slot's events.
type watchedSink struct {
	slot   string
	status func() sink.Status
}

// WatchSink makes readiness and status report what status returns: the state of the sink that publishes the slot's events.
func (a *Server) WatchSink(slot string, status func() sink.Status) {
	a.sink.Store(watchedSink{slot, status})
	if a.server != nil {
		go a.publishedRate.watch(func() int64 { return status().Published }, a.done)
	}
}

// SetStopping makes readiness and status report from now on that the relay is stopping.
func (a *Server) SetStopping() { a.stopping.Store(true) }

// Failed returns a channel that receives the error if the server ends without Close.
func (a *Server) Failed() <-chan error { return a.failed }

// Close stops the server. It gives requests that are being answered one second.
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
