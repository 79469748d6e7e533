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

// liveConfig is the configuration of a program that runs. Some of it may change meanwhile, and is asked for here whenever it is needed: a
// secret that stands in a file of its own is read for each connection, all else when a SIGHUP asks for it.
type liveConfig struct {
	load  func() (*config.Config, error) // the configuration as it is written now
	level *slog.LevelVar
	log   *slog.Logger

	mu          sync.Mutex
	cfg         *config.Config
	lastWarning string // what was last wrong with a secret's file
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
		l.log.Warn("a secret cannot be read again, so the one of before stays in use", "err", strings.ReplaceAll(err.Error(), "\n", "; "))
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

// reload reads the configuration again and takes over what may change. One in which anything is wrong changes nothing.
func (l *liveConfig) reload() {
	fresh, err := l.load()
	if err != nil {
		for _, e := range configProblems(err) {
			l.log.Error("the configuration is wrong now, so the one of before stays in use", "err", e)
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
	_ = l.level.UnmarshalText([]byte(next.Log.Level)) // knows all that are valid
	if len(taken)+len(left) == 0 {
		l.log.Info("configuration read again; nothing differs, but files of secrets and certificates are read anew for each connection")
	}
	if len(taken) > 0 {
		l.log.Info("configuration read again; new connections use what has changed", "keys", strings.Join(taken, ", "))
	}
	if len(left) > 0 {
		l.log.Warn("these keys have changed, which needs a restart; until then they are what they were", "keys", strings.Join(left, ", "))
	}
}
