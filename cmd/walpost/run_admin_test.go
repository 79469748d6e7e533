package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"walpost/relay"
)

// address waits for the admin server of the program.
func (p *process) address(t *testing.T) string {
	t.Helper()
	return fmt.Sprint("http://", p.logged(t, "admin server listens")["address"])
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
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

func TestAdminServer(t *testing.T) {
	clean(t)
	t.Setenv("WALPOST_ADMIN_LISTEN", "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	fake := newFake(func(ctx context.Context) error { <-ctx.Done(); return nil })
	fake.state = relay.State{Role: relay.Leader}
	p := start(ctx, fake.instead, "run")
	at := p.address(t)
	fake.awaitRunning(t, p)
	for path, want := range map[string]string{"/livez": "200 {\"status\":\"ok\"}\n", "/readyz": "200 {\"role\":\"leader\"}\n", "/": "404 404 page not found\n"} {
		if code, body := get(t, at+path); fmt.Sprint(code, " ", body) != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	code, body := get(t, at+"/metrics")
	for _, want := range []string{"walpost_build_info{goversion=\"go", "go_goroutines ", "process_open_fds ", "walpost_publish_duration_seconds_count 0\n"} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("/metrics: %d, no %q", code, want)
		}
	}
	cancel()
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if res, err := http.Get(at + "/livez"); err == nil {
		res.Body.Close()
		t.Error("the server outlives the program's end")
	}
}

// The parts share one registry. No two may register the same metric, and all metrics exist before anything connects.
func TestMetricsFromTheStart(t *testing.T) {
	clean(t)
	t.Setenv("WALPOST_ADMIN_LISTEN", "127.0.0.1:0")
	t.Setenv("WALPOST_POSTGRES_URL", "postgres://127.0.0.1:1/none")
	ctx, cancel := context.WithCancel(t.Context())
	p := start(ctx, nil, "run")
	at := p.address(t)
	eventually(t, func() error {
		code, body := get(t, at+"/readyz")
		if code != 503 || body != "{\"reason\":\"postgres_unreachable\"}\n" {
			return fmt.Errorf("/readyz: %d %s", code, body)
		}
		return nil
	})
	_, body := get(t, at+"/metrics")
	for _, name := range strings.Fields(`leader connected{target="postgres"} connected{target="kafka"} lag_seconds events_received_total transactions_total
		backfill_rows_total backfill_rows_done_total retries_total{target="kafka"} reconnects_total{target="kafka"} inflight_events inflight_bytes`) {
		if !strings.Contains(body, "\nwalpost_"+name+" 0\n") {
			t.Errorf("no walpost_%s 0", name)
		}
	}
	if !strings.Contains(body, "\nwalpost_inflight_limit_bytes 3.3554432e+07\n") {
		t.Error("no walpost_inflight_limit_bytes")
	}
	cancel()
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d while waiting for Postgres; stderr:\n%s", code, &p.stderr)
	}
	if t.Failed() {
		t.Log(body)
	}
}
