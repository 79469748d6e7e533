package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/program"
)

// relay is a running `walpost run`.
type relay struct{ *program.Relay }

// launch starts `walpost run` and does not wait.
func (p *pipe) launch(t testing.TB, env ...string) *relay {
	t.Helper()
	log, err := os.CreateTemp(p.home.Dir(), "relay-*.log")
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
	started, err := program.Start(p.home, program.Options{File: p.program(t), Env: p.environment(env), Log: log.Name()})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{started}
	t.Cleanup(func() { r.inspect(t) })
	return r
}

// start starts `walpost run` and waits until it streams.
func (p *pipe) start(t testing.TB, env ...string) *relay {
	t.Helper()
	r := p.launch(t, env...)
	r.awaitReady(t, "leader")
	return r
}

// inspect checks the output of a relay at the end of each test: it must not have
// panicked or raced.
func (r *relay) inspect(t testing.TB) {
	r.Kill()
	text := r.output()
	if t.Failed() {
		t.Logf("%s:\n%s", r.Log, text)
	}
	noTrace(t, text)
}

// noTrace fails the test if text has a stack trace or a report of a race.
func noTrace(t testing.TB, text string) {
	t.Helper()
	for _, sign := range []string{"DATA RACE", "panic:", "goroutine ", "fatal error:"} {
		if strings.Contains(text, sign) {
			t.Errorf("walpost printed %q:\n%s", sign, text)
		}
	}
}

// output returns the relay's output so far.
func (r *relay) output() string { return child.Tail(r.Log) }

// get sends a request to the admin server.
func (r *relay) get(path string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, body, err := r.Get(ctx, path)
	if err != nil {
		return 0, "", err
	}
	return res.StatusCode, body, nil
}

// readiness returns the status and the body of /readyz.
type readiness struct{ Role, Reason string }

func (r *relay) readiness() (status int, body readiness, err error) {
	status, text, err := r.get("/readyz")
	if err != nil {
		return 0, body, err
	}
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		return status, body, fmt.Errorf("/readyz says %q: %w", text, err)
	}
	return status, body, nil
}

// awaitReady waits until the relay is ready in a role. The creation of a slot waits for the transactions of all tests on the server: that time does
// not count.
func (r *relay) awaitReady(t testing.TB, role string) {
	t.Helper()
	began := time.Now()
	within(t, 10*time.Minute, "ready as "+role, func() string {
		r.mustRun(t)
		status, body, err := r.readiness()
		if err == nil && status == http.StatusOK && body.Role == role {
			return ""
		}
		if body.Reason == "slot_waits" {
			began = time.Now()
		}
		is := fmt.Sprintf("status %d, %+v, %v", status, body, err)
		if time.Since(began) > patience {
			t.Fatalf("ready as %s: not within %v: %s", role, patience, is)
		}
		return is
	})
}

// code matches a reason on /readyz.
var code = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// awaitUnready waits until the relay is not ready, for a reason whose text
// contains another text, in upper or lower case. The text is in /api/status;
// /readyz has a code.
func (r *relay) awaitUnready(t testing.TB, text string) {
	t.Helper()
	eventually(t, "unready because of "+text, func() string {
		r.mustRun(t)
		status, body, err := r.readiness()
		if err == nil && status == http.StatusServiceUnavailable && !code.MatchString(body.Reason) {
			t.Fatalf("/readyz has the reason %q, which is not a code", body.Reason)
		}
		reason, err := r.reason()
		if err == nil && status == http.StatusServiceUnavailable && strings.Contains(strings.ToLower(reason), strings.ToLower(text)) {
			return ""
		}
		return fmt.Sprintf("status %d, %+v, %q, %v", status, body, reason, err)
	})
}

// awaitCode waits until /readyz has a code.
func (r *relay) awaitCode(t testing.TB, code string) {
	t.Helper()
	eventually(t, "unready with "+code, func() string {
		r.mustRun(t)
		status, body, err := r.readiness()
		if err == nil && status == http.StatusServiceUnavailable && body.Reason == code {
			return ""
		}
		return fmt.Sprintf("status %d, %+v, %v", status, body, err)
	})
}

// reason returns the text on /api/status that says why the relay is not ready.
func (r *relay) reason() (string, error) {
	_, text, err := r.get("/api/status")
	if err != nil {
		return "", err
	}
	var s struct{ Reason string }
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return "", fmt.Errorf("/api/status says %q: %w", text, err)
	}
	return s.Reason, nil
}

// awaitOutput waits until the relay has printed a text.
func (r *relay) awaitOutput(t testing.TB, parts ...string) {
	t.Helper()
	eventually(t, "it prints "+strings.Join(parts, ", "), func() string {
		text := r.output()
		for _, part := range parts {
			if !strings.Contains(text, part) {
				r.mustRun(t)
				return "no " + part
			}
		}
		return ""
	})
}

func (r *relay) mustRun(t testing.TB) {
	t.Helper()
	if !r.Running() {
		t.Fatalf("walpost has ended: %v", r.Err())
	}
}

func (r *relay) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := r.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// exit waits until the relay has ended and returns its exit code; -1: a signal
// ended it.
func (r *relay) exit(t testing.TB) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	switch err := r.Err(); {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		t.Fatal(err)
		return 0
	}
}

// stop stops the relay by SIGTERM. The stop must be clean.
func (r *relay) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Terminate(ctx); err != nil {
		t.Fatalf("after SIGTERM: %v", err)
	}
}

// kill ends the relay by SIGKILL.
func (r *relay) kill() { r.Kill() }
