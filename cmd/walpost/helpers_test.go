package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"walpost/cmd/walpost/internal/config"
	"walpost/internal/testenv/child"
	"walpost/relay"
	"walpost/sink"
)

// patience is how long a test waits for something that should happen soon.
const patience = 30 * time.Second

// clean runs the test in an empty folder, without environment variables that the program reads.
func clean(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		foreign := strings.HasPrefix(name, "WALPOST_TEST_")
		if !foreign && (strings.HasPrefix(name, "WALPOST_") || strings.HasPrefix(name, "PG") || name == "DATABASE_URL") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
}

// process is a run of the program within the test.
type process struct {
	stdout, stderr child.Output
	code           chan int
}

// start runs the program until it ends, or until ctx ends.
func start(ctx context.Context, a func(*app), args ...string) *process {
	p := &process{code: make(chan int, 1)}
	go func() {
		app := newApp(strings.NewReader(""), &p.stdout, &p.stderr)
		if a != nil {
			a(app)
		}
		p.code <- app.execute(ctx, args)
	}()
	return p
}

// exit waits for the end of the program and returns its exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case code := <-p.code:
		return code
	case <-time.After(patience):
		t.Fatalf("it does not end; stderr:\n%s", &p.stderr)
		return -1
	}
}

// command runs the program to its end.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := start(t.Context(), nil, args...)
	code = p.exit(t)
	return code, p.stdout.String(), p.stderr.String()
}

// logged waits for a line of the JSON log with that message, and returns it.
func (p *process) logged(t *testing.T, msg string) map[string]any {
	t.Helper()
	var line map[string]any
	eventually(t, func() error {
		for text := range strings.Lines(p.stderr.String()) {
			var l map[string]any
			if json.Unmarshal([]byte(text), &l) == nil && l["msg"] == msg {
				line = l
				return nil
			}
		}
		return fmt.Errorf("no log line %q in:\n%s", msg, &p.stderr)
	})
	return line
}

// eventually calls a check until it returns no error.
func eventually(t *testing.T, wrong func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := wrong()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // the pause between two checks, and not a wait for an outcome
	}
}

// fakeRelay is a relay that does what the test says.
type fakeRelay struct {
	run     func(ctx context.Context) error
	state   relay.State
	running chan struct{}
}

func newFake(run func(ctx context.Context) error) *fakeRelay {
	return &fakeRelay{run: run, running: make(chan struct{})}
}

func (f *fakeRelay) Run(ctx context.Context) error {
	close(f.running)
	return f.run(ctx)
}

func (f *fakeRelay) State() relay.State { return f.state }

// instead makes the program run the fake relay.
func (f *fakeRelay) instead(a *app) {
	a.newRelay = func(*config.Config, *liveConfig, *sink.Kafka, instruments) (runner, error) {
		return f, nil
	}
}

// awaitRunning waits until the program runs the fake relay.
func (f *fakeRelay) awaitRunning(t *testing.T, p *process) {
	t.Helper()
	select {
	case <-f.running:
	case code := <-p.code:
		t.Fatalf("exit %d before the relay ran; stderr:\n%s", code, &p.stderr)
	case <-time.After(patience):
		t.Fatal("the relay is never run")
	}
}

// quiet is like clean, with a configuration file quiet.yaml that uses no port.
func quiet(t *testing.T) {
	t.Helper()
	clean(t)
	if err := os.WriteFile("quiet.yaml", []byte("admin: {listen: \"\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
