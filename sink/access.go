package sink

import (
	"crypto/tls"
	"log/slog"
	"sync"

	"github.com/IBM/sarama"
)

// access makes connections safe. Each new one uses the settings and the files of the moment: passwords and certificates are rotated under
// a process that runs for months, and connections that are there keep what they began with.
type access struct {
	settings func() Security
	log      *slog.Logger

	mu     sync.Mutex
	last   *tls.Config    // what was last found right; nil: plain text
	said   string         // what was last found wrong
	client Security       // what tokens are asked for with
	tokens *tokenProvider // nil until one is asked for
}

// newAccess takes settings that [Security.Check] found nothing wrong with. renew returns those of the moment; nil: they never change. What
// protocol and mechanism are does not change.
func newAccess(s Security, renew func() Security, log *slog.Logger) (*access, error) {
	if renew == nil {
		renew = func() Security { return s }
	}
	cfg, err := s.TLS()
	if err != nil {
		return nil, err
	}
	return &access{settings: renew, log: log, last: cfg}, nil
}

// tls returns how to encrypt the next connection, nil for not at all. Files that cannot be used, because somebody is just writing them,
// leave what was right before.
func (a *access) tls() *tls.Config {
	if a == nil {
		return nil
	}
	fresh, err := a.settings().TLS()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.last, a.said = fresh, ""
	case a.said != err.Error():
		a.said = err.Error()
		a.log.Warn("certificates cannot be read again, so those of before stay in use", "err", "kafka."+a.said)
	}
	return a.last
}

// Token returns a token to log in with. One that is kept is for the client that it was given to.
func (a *access) Token() (*sarama.AccessToken, error) {
	s := a.settings()
	a.mu.Lock()
	if a.tokens == nil || a.client != s {
		a.client, a.tokens = s, s.tokens()
	}
	tokens := a.tokens
	a.mu.Unlock()
	return tokens.Token()
}

// plain tells whether logins are made by PLAIN.
func (a *access) plain() bool {
	return a != nil && a.settings().Mechanism == sarama.SASLTypePlaintext
}
