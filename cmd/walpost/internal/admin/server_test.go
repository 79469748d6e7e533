package admin

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"walpost/cmd/walpost/internal/config"
	"walpost/internal/testenv/certs"
	"walpost/relay"
)

// start starts a server that must not end before the test does.
func start(t *testing.T, cfg config.Admin) *Server {
	t.Helper()
	a, err := Start(cfg, "1.2.3", prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		select {
		case err := <-a.Failed():
			t.Errorf("it has ended by itself: %v", err)
		default:
		}
	})
	return a
}

// writeWebConfig writes a file for admin.web_config with the user me, whose password is secret.
func writeWebConfig(t *testing.T) (name string) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(name, []byte("basic_auth_users:\n  me: "+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func get(t *testing.T, url string, login ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(login) == 2 {
		req.SetBasicAuth(login[0], login[1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestWebConfig(t *testing.T) {
	web := writeWebConfig(t)
	at := "http://" + start(t, config.Admin{Listen: "127.0.0.1:0", WebConfig: web}).addr.String()
	if code, _ := get(t, at+"/metrics"); code != http.StatusUnauthorized {
		t.Errorf("without a password: %d", code)
	}
	if code, _ := get(t, at+"/metrics", "me", "secret"); code != http.StatusOK {
		t.Errorf("with the password: %d", code)
	}
}

// TestProbesNeedNoPassword: the probes of an orchestrator send no password. Everything else in web_config still applies, and TLS also
// applies to the probes.
func TestProbesNeedNoPassword(t *testing.T) {
	ca, err := certs.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	files, err := ca.Issue(t.TempDir(), "server", nil)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := "tls_server_config:\n  cert_file: " + files.Cert + "\n  key_file: " + files.Key + "\n"
	for _, test := range []struct{ name, scheme, text string }{
		{"in clear", "http", ""},
		{"TLS, HTTP/2", "https", encrypted},
		{"TLS, HTTP/1.1", "https", encrypted + "http_server_config:\n  http2: false\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			web := writeWebConfig(t)
			users, err := os.ReadFile(web)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(web, append(users, test.text...), 0o600); err != nil {
				t.Fatal(err)
			}
			a := start(t, config.Admin{Listen: "127.0.0.1:0", WebConfig: web})
			// The server's identity does not matter here.
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
			t.Cleanup(transport.CloseIdleConnections)
			answers := func(scheme, method, path, want string, login ...string) {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), method, scheme+"://"+a.addr.String()+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if login != nil {
					req.SetBasicAuth(login[0], login[1])
				}
				res, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				if got := fmt.Sprint(res.StatusCode, " ", string(body)); err != nil || !strings.HasPrefix(got, want) {
					t.Errorf("%s %s %s%s: %s, %v, want %s", res.Proto, method, scheme, path, got, err, want)
				}
			}
			answers(test.scheme, "GET", "/livez", "200 {\"status\":\"ok\"}")
			answers(test.scheme, "HEAD", "/livez", "200")
			answers(test.scheme, "GET", "/readyz", "503 {\"reason\":\"starting\"}")
			a.WatchRelay(func() relay.State { return relay.State{Role: relay.Leader} })
			answers(test.scheme, "GET", "/readyz", "200 {\"role\":\"leader\"}")
			answers(test.scheme, "GET", "/readyz", "200", "me", "wrong")
			answers(test.scheme, "POST", "/readyz", "405")
			for _, path := range []string{"/metrics", "/api/status", "/", "/livez/", "/readyz/../api/status", "//livez", "/LIVEZ"} {
				answers(test.scheme, "GET", path, "401")
				answers(test.scheme, "GET", path, "401", "me", "wrong")
			}
			answers(test.scheme, "GET", "/metrics", "200", "me", "secret")
			answers(test.scheme, "GET", "/api/status", "200", "me", "secret")
			if test.scheme == "https" {
				answers("http", "GET", "/readyz", "400")
			}
		})
	}
}

// TestProbesOutliveWebConfig: neither too many requests of others nor a broken file makes an orchestrator restart the relay.
func TestProbesOutliveWebConfig(t *testing.T) {
	web := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(web, []byte("rate_limit: {interval: 1h, burst: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := "http://" + start(t, config.Admin{Listen: "127.0.0.1:0", WebConfig: web}).addr.String()
	answers := func(path string, want int) {
		t.Helper()
		if code, body := get(t, at+path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	answers("/metrics", http.StatusOK)
	answers("/metrics", http.StatusTooManyRequests)
	answers("/livez", http.StatusOK)
	answers("/readyz", http.StatusServiceUnavailable)
	if err := os.Remove(web); err != nil {
		t.Fatal(err)
	}
	answers("/metrics", http.StatusInternalServerError)
	answers("/livez", http.StatusOK)
	answers("/readyz", http.StatusServiceUnavailable)
}

func TestAdminTakesNoOtherMethod(t *testing.T) {
	for _, path := range []string{"/readyz", "/api/status"} {
		w := httptest.NewRecorder()
		(&Server{}).routes(prometheus.NewRegistry()).ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
}
