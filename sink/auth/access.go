package auth

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"

	"github.com/IBM/sarama"
)

// Access returns what new connections are made with. Each one uses the settings and the files of the moment: passwords and certificates
// are rotated under a process that runs for months. Connections that are there keep what they began with. Its methods may be called from
// any goroutine.
type Access struct {
	settings func() Security
	log      *slog.Logger

	mu          sync.Mutex     // innermost
	last        *tls.Config    // what was last found right; nil: plain text
	lastWarning string         // what was last found wrong
	client      Security       // what tokens are asked for with
	tokens      *tokenProvider // nil until one is asked for
}

// New returns access by settings that [Security.Check] found nothing wrong with. renew returns those of the moment; nil: they never
// change. Protocol and mechanism do not change.
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

// Security returns the settings of the moment.
func (a *Access) Security() Security { return a.settings() }

// TLS returns how to encrypt the next connection, nil for not at all. Files that cannot be used, because somebody is just writing them,
// leave what was right before. A nil Access encrypts nothing.
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
		a.log.Warn("certificates cannot be read again, so those of before stay in use", "err", "kafka."+a.lastWarning)
	}
	return a.last
}

// Token returns a token to log in with. One that is kept is for the client that it was given to. It waits for the issuer until ctx ends.
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

// UsesPlain reports whether logins are made by PLAIN.
func (a *Access) UsesPlain() bool {
	return a != nil && a.settings().Mechanism == sarama.SASLTypePlaintext
}
