package auth

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"

	"github.com/IBM/sarama"
)

// Access provides the settings for new connections. Each connection uses the settings and files as they are at that moment, because
// passwords and certificates are rotated while a process runs for months. Open connections keep what they began with. Its methods may be
// called from any goroutine.
type Access struct {
	settings func() Security
	log      *slog.Logger

	mu          sync.Mutex     // innermost
	last        *tls.Config    // the last valid configuration; nil: plain text
	lastWarning string         // the last problem that was logged
	client      Security       // the settings that tokens belongs to
	tokens      *tokenProvider // nil until a token is needed
}

// New returns an Access for settings that [Security.Check] has accepted. renew returns the current settings; nil: they never change.
// Protocol and mechanism never change.
func New(s Security, renew func() Security, log *slog.Logger) (*Access, error) {
	if renew == nil {
		renew = func() Security { return s }
	}
	cfg, err := s.TLS()
	if err != nil {
		return nil, err
	}
	return &Access{settings: renew, log: log, last: cfg}, nil
}

// Security returns the current settings.
func (a *Access) Security() Security { return a.settings() }

// TLS returns how to encrypt the next connection, or nil if it is not encrypted. If the files cannot be used, for example because somebody
// is writing them right now, TLS returns the last valid configuration. A nil Access encrypts nothing.
func (a *Access) TLS() *tls.Config {
	if a == nil {
		return nil
	}
	fresh, err := a.settings().TLS()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.last, a.lastWarning = fresh, ""
	case a.lastWarning != err.Error():
		a.lastWarning = err.Error()
		a.log.Warn("cannot read the certificates again, so the previous ones stay in use", "err", "kafka."+a.lastWarning)
	}
	return a.last
}

// Token returns a token to log in with. It keeps a token as long as the settings stay the same. It waits for the issuer until ctx ends.
func (a *Access) Token(ctx context.Context) (*sarama.AccessToken, error) {
	s := a.settings()
	a.mu.Lock()
	if a.tokens == nil || a.client != s {
		a.client, a.tokens = s, s.tokens()
	}
	tokens := a.tokens
	a.mu.Unlock()
	return tokens.Token(ctx)
}

// UsesPlain reports whether logins use PLAIN.
func (a *Access) UsesPlain() bool {
	return a != nil && a.settings().Mechanism == sarama.SASLTypePlaintext
}
