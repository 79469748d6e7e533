package main

import (
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"walpost/cmd/walpost/internal/config"
	"walpost/sink/auth"
)

// liveConfig is the configuration of a running relay. Some of it may change while the relay runs, so the relay asks for it here whenever it
// needs it. A secret in a file of its own is read again for each connection, everything else on SIGHUP.
type liveConfig struct {
	load  func() (*config.Config, error) // reads the configuration again
	level *slog.LevelVar
	log   *slog.Logger

	mu          sync.Mutex
	cfg         *config.Config
	lastWarning string // the last problem with a secret's file
}

// connString returns what the next connection to Postgres uses.
func (l *liveConfig) connString() string { return string(l.current().Postgres.URL) }

// security returns what the next connection to Kafka uses.
func (l *liveConfig) security() auth.Security { return l.current().Security() }

func (l *liveConfig) current() *config.Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, err := l.cfg.Renew()
	l.cfg = next
	warning := ""
	for _, e := range unjoin(err) {
		warning += e.Error()
	}
	if warning != "" && warning != l.lastWarning {
		l.log.Warn("cannot read a secret again; the old one stays in use", "err", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	l.lastWarning = warning
	return next
}

// reloadOnHangup reads the configuration again on every SIGHUP, until the function that it returns is called.
func (l *liveConfig) reloadOnHangup() (release func()) {
	hangups, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer close(ended)
		for range hangups {
			l.reload()
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
		<-ended
	}
}

// reload reads the configuration again and applies the keys that may change. A wrong configuration changes nothing.
func (l *liveConfig) reload() {
	fresh, err := l.load()
	if err != nil {
		for _, e := range configProblems(err) {
			l.log.Error("the new configuration is wrong; the old one stays in use", "err", e)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range fresh.Warnings() {
		if !slices.Contains(l.cfg.Warnings(), w) {
			l.log.Warn("configuration: " + w)
		}
	}
	next, taken, left := l.cfg.Adopt(fresh)
	l.cfg = next
	_ = l.level.UnmarshalText([]byte(next.Log.Level)) // it knows all valid levels
	if len(taken)+len(left) == 0 {
		l.log.Info("configuration read again; no key has changed; files with secrets and certificates are read again for each connection anyway")
	}
	if len(taken) > 0 {
		l.log.Info("configuration read again; new connections use the changed keys", "keys", strings.Join(taken, ", "))
	}
	if len(left) > 0 {
		l.log.Warn("these keys have changed, and that needs a restart; until then their old values stay in use", "keys", strings.Join(left, ", "))
	}
}
