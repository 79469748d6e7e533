package adminclient

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestStatusOfSomethingElse(t *testing.T) {
	for says, handler := range map[string]http.HandlerFunc{
		"the server there is not walpost": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"it answers with status 500":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"the server there is not":         http.NotFound,
	} {
		s := httptest.NewServer(handler)
		_, _, err := client(t, s.URL).Report(t.Context())
		if s.Close(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	if _, _, err := client(t, "http://"+s.Listener.Addr().String()).Report(t.Context()); err == nil || !strings.Contains(err.Error(), "--address https://"+s.Listener.Addr().String()) {
		t.Errorf("TLS: %v", err)
	}
}

// TestLoginStaysSecret: a password is sent unencrypted only to this machine, and only to the server that was named.
func TestLoginStaysSecret(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:8488": true, "localhost:8488": true, "[::1]:8488": true, "0.0.0.0:8488": true, "127.1.2.3:1": true, "https://relay:8488": true,
		"relay:8488": false, "http://relay:8488": false, "10.0.0.7:8488": false, "[2001:db8::1]:8488": false, "localhost.example:8488": false,
	} {
		c := client(t, address)
		err := c.SetLogin("me", "canary")
		if (err == nil) != want || (c.user != "") != want || err != nil && (!strings.Contains(err.Error(), "https://"+c.Host()) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %v", address, err)
		}
	}
	var told string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told = r.Header.Get("Authorization") }))
	defer elsewhere.Close()
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound)) // the same host name, so a client of Go would send the login there, too
	defer s.Close()
	c := client(t, s.URL)
	if err := c.SetLogin("me", "canary"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Report(t.Context()); err == nil || !strings.Contains(err.Error(), "it answers with status 302") || told != "" {
		t.Errorf("a redirection: %v; the other server was told %q", err, told)
	}
}

func client(t *testing.T, address string) *Client {
	t.Helper()
	c, err := New(address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhereToAsk(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8488": "http://127.0.0.1:8488", ":8488": "http://127.0.0.1:8488", "0.0.0.0:1": "http://127.0.0.1:1", "[::]:1": "http://[::1]:1", "relay:1": "http://relay:1",
		"https://relay:1/": "https://relay:1", "ftp://relay:1": "", "http://relay:1/metrics": "", "http://": "",
	} {
		got := ""
		if c, err := New(listen); err == nil {
			got = c.base.String()
		}
		if got != want {
			t.Errorf("%s: ask at %q, want %q", listen, got, want)
		}
	}
}
