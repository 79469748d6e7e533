package dbtest

import (
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
)

// Logs keeps log lines. It also writes them to the test's log: at once if WALPOST_TEST_LOG is set, otherwise when the test has failed, and
// then only the last lines.
type Logs struct {
	t    testing.TB
	mu   sync.Mutex
	text strings.Builder
}

// NewLogs returns empty logs.
func NewLogs(t testing.TB) *Logs {
	l := &Logs{t: t}
	t.Cleanup(func() {
		if t.Failed() && !shownAtOnce() {
			t.Logf("the end of its log:\n%s", l.last(30))
		}
	})
	return l
}

func shownAtOnce() bool { return os.Getenv("WALPOST_TEST_LOG") != "" }

// Logger returns a logger that writes to the logs, from level debug on.
func (l *Logs) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Write implements io.Writer for [slog.NewTextHandler].
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if l.t.Context().Err() == nil && shownAtOnce() {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// Has reports whether text was logged.
func (l *Logs) Has(text string) bool { return l.Count(text) > 0 }

// Count returns how often text was logged.
func (l *Logs) Count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// last returns the last n lines that are not of level debug.
func (l *Logs) last(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for line := range strings.Lines(l.text.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
