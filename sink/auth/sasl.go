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

// ApplySASL sets how sarama logs in, and waits for no issuer once ctx has ended. It leaves Net.TLS alone: the dialer encrypts.
func (a *Access) ApplySASL(ctx context.Context, c *sarama.Config) {
	s := a.settings()
	if !s.SASL() {
		return
	}
	sasl := &c.Net.SASL
	sasl.Enable, sasl.Version = true, sarama.SASLHandshakeV1 // with V1 a broker says why it refuses, and sarama logs in anew in time
	sasl.Mechanism = sarama.SASLMechanism(s.Mechanism)
	sasl.User, sasl.Password = "unused", "unused" // sarama wants some, and each login takes those of the moment
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

// scramClient is one login by SCRAM (RFC 5802), in the three steps that sarama asks for.
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
		return errSCRAM // the library's words quote them
	}
	c.conversation = client.NewConversation()
	return nil
}

func (c *scramClient) Step(challenge string) (string, error) { return c.conversation.Step(challenge) }
func (c *scramClient) Done() bool                            { return c.conversation.Done() }

// Times of tokens.
const (
	tokenTimeout = 10 * time.Second
	// tokenEarly is how long before its end a token is not used any more: a broker ends the session with the token, and one that ends
	// during the login is refused (IBM/sarama#3646).
	tokenEarly = time.Minute
)

// tokensUntil is what sarama asks for tokens.
type tokensUntil struct {
	ctx    context.Context
	access *Access
}

// Token is called at each login, from any goroutine.
func (t tokensUntil) Token() (*sarama.AccessToken, error) { return t.access.Token(t.ctx) }

// tokens gets tokens with the client's credentials and keeps each until shortly before its end.
func (s Security) tokens() *tokenProvider {
	cfg := clientcredentials.Config{ClientID: s.ClientID, ClientSecret: s.ClientSecret, TokenURL: s.TokenURL, Scopes: strings.Fields(s.Scope)}
	return &tokenProvider{cfg: cfg, client: &http.Client{Timeout: tokenTimeout, CheckRedirect: staysEncrypted}, turn: make(chan struct{}, 1)}
}

var errClearText = errors.New("http would send the client's secret in clear")

// staysEncrypted lets a request follow a redirect as net/http does by itself, but to where encrypted says no.
func staysEncrypted(r *http.Request, via []*http.Request) error {
	if !encrypted(r.URL) {
		return fmt.Errorf("redirected to %s: %w", r.URL.Host, errClearText)
	}
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}

// encrypted reports whether what is sent to u can be read by nobody else: by TLS, or because it does not leave this machine.
func encrypted(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || strings.EqualFold(u.Hostname(), "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// tokenProvider is not oauth2's source: that one asks on for a caller who has left, and has the others wait for it.
type tokenProvider struct {
	cfg    clientcredentials.Config
	client *http.Client
	turn   chan struct{} // has room for the one who may look at last, and ask
	last   *oauth2.Token
}

// Token may be called from any goroutine. One at a time asks, and the others get what it was given.
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

// describe says what became of the request. The answer's body is left out unless it is in OAuth's own form: a proxy's page helps nobody.
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

// refusedToken is a refusal like a broker's own, and means the same: only a person can cure it.
type refusedToken struct{ error }

func (e *refusedToken) Is(target error) bool { return target == sarama.ErrSASLAuthenticationFailed }
