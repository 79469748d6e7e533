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
		"what answers there is no walpost": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"it answers with status 500":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"what answers there is no":         http.NotFound,
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
