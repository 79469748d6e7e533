package admin

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"walpost/cmd/walpost/internal/config"
)

// start starts a server that ends with the test, and not before.
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

func TestAdminTakesNoOtherMethod(t *testing.T) {
	for _, path := range []string{"/readyz", "/api/status"} {
		w := httptest.NewRecorder()
		(&Server{}).routes(prometheus.NewRegistry()).ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
}
