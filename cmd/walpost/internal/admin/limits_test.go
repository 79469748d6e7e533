package admin

import (
	"bufio"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/cmd/walpost/internal/config"
)

// startWith starts a server with the given limits, and with a few megabytes of metrics.
func startWith(t *testing.T, l limits) *Server {
	t.Helper()
	registry := prometheus.NewRegistry()
	large := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "large", Help: strings.Repeat("x", 100)}, []string{"label"})
	registry.MustRegister(large)
	for i := range 20_000 {
		large.WithLabelValues(strings.Repeat("x", 400) + strconv.Itoa(i))
	}
	a, err := startLimited(config.Admin{Listen: "127.0.0.1:0"}, "1.2.3", registry, slog.New(slog.DiscardHandler), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func dial(t *testing.T, a *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", a.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestClientsThatHang: wherever a client hangs, the server closes its connection. The limit is one connection, so the next client gets an
// answer only after that.
func TestClientsThatHang(t *testing.T) {
	const soon, never = 100 * time.Millisecond, time.Hour
	for _, test := range []struct {
		name   string
		sends  string
		limits limits
	}{
		{"says nothing", "", limits{1, soon, never, never, never}},
		{"sends half a header", "GET /livez HTTP/1.1\r\nHost: a\r\n", limits{1, soon, never, never, never}},
		{"sends no body", "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", limits{1, never, soon, never, never}},
		{"reads nothing", "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", limits{1, never, never, soon, never}},
		{"asks nothing more", "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", limits{1, never, never, never, soon}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := startWith(t, test.limits)
			if _, err := dial(t, a).Write([]byte(test.sends)); err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			res, err := client.Get("http://" + a.addr.String() + "/livez")
			if err != nil {
				t.Fatalf("the next client: %v", err)
			}
			res.Body.Close()
		})
	}
}

// TestConnectionsAreLimited: a connection beyond the limit waits until another one is closed.
func TestConnectionsAreLimited(t *testing.T) {
	l := defaultLimits
	l.connections = 2
	a := startWith(t, l)
	first, _, third := dial(t, a), dial(t, a), dial(t, a)
	if _, err := third.Write([]byte("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	// Only waiting can show that no answer comes. An answer would take less than a millisecond.
	third.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	in := bufio.NewReader(third)
	if line, err := in.ReadString('\n'); err == nil {
		t.Fatalf("answered beyond the limit: %s", line)
	}
	first.Close()
	third.SetReadDeadline(time.Now().Add(10 * time.Second))
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
		t.Errorf("when another one is gone: %q, %v", line, err)
	}
}

// TestEveryLimitIsSet: a limit of 0 would mean no limit.
func TestEveryLimitIsSet(t *testing.T) {
	a := start(t, config.Admin{Listen: "127.0.0.1:0"})
	if s := a.server; s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || defaultLimits.connections <= 0 {
		t.Errorf("a limit is missing: %+v", s)
	}
}
