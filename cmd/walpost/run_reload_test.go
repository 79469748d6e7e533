package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"walpost/cmd/walpost/internal/config"
	"walpost/sink"
)

const (
	plainLogin = "kafka: {security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: me, sasl.password: canary1}\n"
	noServer   = "admin: {listen: ''}\n"
)

// On SIGHUP the relay takes over the keys that may change, names the others, and shows no secret. A wrong configuration changes nothing.
func TestHangupReadsTheConfigurationAgain(t *testing.T) {
	clean(t)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile("walpost.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(noServer + plainLogin)
	fake := newFake(func(ctx context.Context) error { <-ctx.Done(); return nil })
	lives := make(chan *liveConfig, 1)
	p := start(t.Context(), func(a *app) {
		a.newRelay = func(_ *config.Config, l *liveConfig, _ *sink.Kafka, _ instruments) (runner, error) {
			lives <- l
			return fake, nil
		}
	}, "run")
	fake.awaitRunning(t, p)
	l := <-lives
	hangup := func() { kill(t, syscall.SIGHUP) }

	hangup()
	p.logged(t, "configuration read again; no key has changed; files with secrets and certificates are read again for each connection anyway")

	write(noServer + strings.Replace(plainLogin, "canary1", "canary2", 1) + "outbox: {topic: other}\nrelay: {shutdown_timeout: 3s}\nlog: {level: debug}\n")
	hangup()
	if line := p.logged(t, "configuration read again; new connections use the changed keys"); line["keys"] != "kafka.sasl.password, log.level" {
		t.Errorf("taken over: %v", line["keys"])
	}
	if line := p.logged(t, "these keys have changed, and that needs a restart; until then their old values stay in use"); line["keys"] != "outbox.topic, relay.shutdown_timeout" {
		t.Errorf("left: %v", line["keys"])
	}
	if got := l.security().Password; got != "canary2" {
		t.Errorf("the next connection uses %q", got)
	}
	if !l.log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("the level is what it was")
	}

	write(noServer + "kafka:\n  sasl.pasword: canary3\n")
	hangup()
	line := p.logged(t, "the new configuration is wrong; the old one stays in use")
	if want := "walpost.yaml:3:3: unknown key kafka.sasl.pasword; did you mean kafka.sasl.password?"; line["err"] != want {
		t.Errorf("said\n%v\nwant\n%s", line["err"], want)
	}
	if got := l.security().Password; got != "canary2" {
		t.Errorf("the next connection uses %q", got)
	}
	kill(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if strings.Contains(p.stderr.String(), "canary") {
		t.Errorf("a secret is shown:\n%s", &p.stderr)
	}
}

// A flag still overrides the file after a reload.
func TestHangupLeavesTheFlagsLevel(t *testing.T) {
	quiet(t)
	fake := newFake(func(ctx context.Context) error { <-ctx.Done(); return nil })
	p := start(t.Context(), fake.instead, append(quietly, "--log-level", "warn")...)
	fake.awaitRunning(t, p)
	if err := os.WriteFile("quiet.yaml", []byte(noServer+"log: {level: debug}\nrelay: {shutdown_timeout: 3s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	kill(t, syscall.SIGHUP)
	p.logged(t, "these keys have changed, and that needs a restart; until then their old values stay in use")
	kill(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 || strings.Contains(p.stderr.String(), `"level":"INFO"`) {
		t.Errorf("exit %d; stderr:\n%s", code, &p.stderr)
	}
}

// A file that cannot be read is logged once, and again only if it was readable in between.
func TestSecretFileTroubleIsSaidOnce(t *testing.T) {
	clean(t)
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile("password", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("canary1")
	cfg, err := config.Load(config.Sources{Environ: []string{"WALPOST_KAFKA_SECURITY_PROTOCOL=SASL_SSL", "WALPOST_KAFKA_SASL_MECHANISM=PLAIN",
		"WALPOST_KAFKA_SASL_USERNAME=me", "WALPOST_KAFKA_SASL_PASSWORD_FILE=password"}})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	l := &liveConfig{cfg: cfg, log: slog.New(slog.NewTextHandler(&log, nil))}
	for i, text := range []string{"canary1", "", "", "canary2", ""} {
		put(text)
		want := []string{"canary1", "canary1", "canary1", "canary2", "canary2"}[i]
		if got := l.security().Password; got != want {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
	}
	if n := strings.Count(log.String(), "stays in use"); n != 2 {
		t.Errorf("said %d times:\n%s", n, fmt.Sprint(&log))
	}
}
