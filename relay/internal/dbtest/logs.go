package dbtest

import (
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
)

// Logs keeps log lines, and also writes them to the test's log if WALPOST_TEST_LOG is set.
type Logs struct {
	t    testing.TB
	mu   sync.Mutex
	text strings.Builder
}

// NewLogs returns empty logs.
func NewLogs(t testing.TB) *Logs { return &Logs{t: t} }

// Logger returns a logger that writes to the logs, from level debug on.
func (l *Logs) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Write implements io.Writer for [slog.NewTextHandler].
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if l.t.Context().Err() == nil && os.Getenv("WALPOST_TEST_LOG") != "" {
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
