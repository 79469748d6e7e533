package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// ApplySASL configures how sarama logs in. Once ctx has ended, logins wait for no issuer. It does not set Net.TLS, because the dialer
// encrypts.
func (a *Access) ApplySASL(ctx context.Context, c *sarama.Config) {
	s := a.settings()
	if !s.SASL() {
		return
	}
	sasl := &c.Net.SASL
	sasl.Enable, sasl.Version = true, sarama.SASLHandshakeV1 // with V1 a broker says why it refuses, and sarama logs in again in time
	sasl.Mechanism = sarama.SASLMechanism(s.Mechanism)
	sasl.User, sasl.Password = "unused", "unused" // sarama requires both; each login uses the current ones
	switch s.Mechanism {
	case sarama.SASLTypeSCRAMSHA256:
		sasl.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA256, access: a} }
	case sarama.SASLTypeSCRAMSHA512:
		sasl.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA512, access: a} }
	case sarama.SASLTypeOAuth:
		sasl.TokenProvider = tokensUntil{ctx, a}
	case sarama.SASLTypePlaintext: // see plain.go
	}
}

// scramClient is one login with SCRAM (RFC 5802), in the three steps that sarama calls.
type scramClient struct {
	hash         scram.HashGeneratorFcn
	access       *Access
	conversation *scram.ClientConversation
}

var errSCRAM = errors.New("kafka.sasl.username or kafka.sasl.password has characters that SCRAM forbids (RFC 4013)")

func (c *scramClient) Begin(_, _, authzID string) error {
	s := c.access.settings()
	client, err := c.hash.NewClient(s.Username, s.Password, authzID)
	if err != nil {
		return errSCRAM // the library's error quotes user and password
	}
	c.conversation = client.NewConversation()
	return nil
}

func (c *scramClient) Step(challenge string) (string, error) { return c.conversation.Step(challenge) }
func (c *scramClient) Done() bool                            { return c.conversation.Done() }

// Times of tokens.
const (
	tokenTimeout = 10 * time.Second
	// tokenEarly is how long before its expiry a token is replaced. A broker ends the session when the token expires, and refuses a token
	// that expires during the login (IBM/sarama#3646).
	tokenEarly = time.Minute
)

// tokensUntil provides tokens to sarama until ctx ends.
type tokensUntil struct {
	ctx    context.Context
	access *Access
}

// Token returns a token. sarama calls it at each login, from any goroutine.
func (t tokensUntil) Token() (*sarama.AccessToken, error) { return t.access.Token(t.ctx) }

// tokens returns a provider that gets tokens with the client's credentials and keeps each token until shortly before its expiry.
func (s Security) tokens() *tokenProvider {
	cfg := clientcredentials.Config{ClientID: s.ClientID, ClientSecret: s.ClientSecret, TokenURL: s.TokenURL, Scopes: strings.Fields(s.Scope)}
	return &tokenProvider{cfg: cfg, client: &http.Client{Timeout: tokenTimeout, CheckRedirect: staysEncrypted}, turn: make(chan struct{}, 1)}
}

var errClearText = errors.New("http would send the client's secret in clear text")

// staysEncrypted allows redirects as net/http does by default, except to a URL that is not encrypted.
func staysEncrypted(r *http.Request, via []*http.Request) error {
	if !encrypted(r.URL) {
		return fmt.Errorf("redirected to %s: %w", r.URL.Host, errClearText)
	}
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}

// encrypted reports whether nobody else can read what is sent to u: it uses TLS, or it does not leave this machine.
func encrypted(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || strings.EqualFold(u.Hostname(), "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// tokenProvider replaces oauth2's own token source. That one keeps asking after its caller has left, and makes other callers wait for it.
type tokenProvider struct {
	cfg    clientcredentials.Config
	client *http.Client
	turn   chan struct{} // has room for one: the caller that may use last and ask the issuer
	last   *oauth2.Token
}

// Token returns a token. It may be called from any goroutine. One caller at a time asks the issuer, and the others get the same token.
func (p *tokenProvider) Token(ctx context.Context) (*sarama.AccessToken, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, p.describe(ctx.Err())
	}
	if p.last == nil || !p.last.Expiry.IsZero() && time.Until(p.last.Expiry) <= tokenEarly {
		t, err := p.cfg.Token(context.WithValue(ctx, oauth2.HTTPClient, p.client))
		if err != nil {
			return nil, p.describe(err)
		}
		p.last = t
	}
	return &sarama.AccessToken{Token: p.last.AccessToken}, nil
}

// describe returns an error that names the request and its outcome. The answer's body is left out unless it has OAuth's own form: a proxy's
// error page helps nobody.
func (p *tokenProvider) describe(err error) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		return fmt.Errorf("get a token from kafka.sasl.oauthbearer.token.endpoint.url %s: %w", p.cfg.TokenURL, err)
	}
	said := answer.Response.Status
	if answer.ErrorCode != "" {
		said = strings.TrimSpace(answer.ErrorCode + " " + answer.ErrorDescription)
	}
	err = fmt.Errorf("get a token from kafka.sasl.oauthbearer.token.endpoint.url %s: %s; check kafka.sasl.oauthbearer.client.id, .client.secret and .scope", p.cfg.TokenURL, said)
	if code := answer.Response.StatusCode; code == http.StatusBadRequest || code == http.StatusUnauthorized || code == http.StatusForbidden {
		return &refusedToken{err}
	}
	return err
}

// refusedToken is the issuer's refusal. Like a broker's refusal, it is an error that only a person can cure.
type refusedToken struct{ error }

func (e *refusedToken) Is(target error) bool { return target == sarama.ErrSASLAuthenticationFailed }
