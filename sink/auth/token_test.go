package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/internal/sinktest"
)

// securityOf returns settings for a client of the issuer.
func securityOf(i *sinktest.Issuer) Security {
	return Security{Protocol: "SASL_PLAINTEXT", Mechanism: "OAUTHBEARER", TokenURL: i.URL, ClientID: "walpost", ClientSecret: "secret", Scope: "kafka"}
}

// A token is kept, but not until its expiry.
func TestTokensAreRefreshedEarly(t *testing.T) {
	for lifetime, want := range map[time.Duration]int32{time.Hour: 1, tokenEarly + time.Hour: 1, tokenEarly - time.Second: 3} {
		i := sinktest.NewIssuer(t, lifetime)
		p := securityOf(i).tokens()
		i.Asked.Store(0)
		for range 3 {
			if _, err := p.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := i.Asked.Load(); n != want {
			t.Errorf("%s: asked %d times, want %d", lifetime, n, want)
		}
	}
}

func TestRefusedTokens(t *testing.T) {
	i := sinktest.NewIssuer(t, time.Hour)
	s := securityOf(i)
	s.ClientSecret = "canary"
	_, err := s.tokens().Token(t.Context())
	want := "get a token from kafka.sasl.oauthbearer.token.endpoint.url " + i.URL + ": invalid_client no such client; check kafka.sasl.oauthbearer.client.id, .client.secret and .scope"
	if message(err) != want || !errors.Is(err, sarama.ErrSASLAuthenticationFailed) || !Refused(err) {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	i.Close()
	if _, err = s.tokens().Token(t.Context()); err == nil || Refused(err) || strings.Contains(err.Error(), "canary") {
		t.Errorf("issuer gone: %v", err)
	}
}

// A token belongs to the client that it was given to. If the secret changes, another token is requested.
func TestTokensFollowTheClient(t *testing.T) {
	i := sinktest.NewIssuer(t, time.Hour)
	s := securityOf(i)
	a := &Access{settings: func() Security { return s }}
	for range 2 {
		if _, err := a.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.ClientSecret = "canary"
	if _, err := a.Token(t.Context()); err == nil {
		t.Error("an old token was used with a secret that the issuer does not know")
	}
}

// While the issuer is silent, a caller whose context ends returns at once, both the caller that asked and those that wait behind it. The
// next caller asks again.
func TestTokensAreNotWaitedFor(t *testing.T) {
	i := sinktest.NewIssuer(t, time.Hour)
	asked, answer := make(chan struct{}), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		case <-answer:
		}
		select {
		case <-r.Context().Done():
		case <-answer:
			i.ServeHTTP(w, r)
		}
	}))
	defer silent.Close()
	s := securityOf(i)
	s.TokenURL = silent.URL
	tokens := s.tokens()
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := tokens.Token(ctx)
			left <- err
		}()
	}
	<-asked
	begin := time.Now()
	cancel()
	for range 2 {
		if err := <-left; !errors.Is(err, context.Canceled) || time.Since(begin) > tokenTimeout/2 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	}
	close(answer)
	if _, err := tokens.Token(t.Context()); err != nil {
		t.Error(err)
	}
}

// The client's secret leaves this machine only with TLS. This is checked for the address and for redirects.
func TestTokenEndpointIsEncrypted(t *testing.T) {
	for address, want := range map[string]bool{
		"https://id.example/token": true, "http://id.example/token": false, "http://10.0.0.1/token": false, "http://localhost.example/token": false,
		"http://127.0.0.1:8080/token": true, "http://127.1.2.3/token": true, "http://[::1]:8080/token": true, "http://localhost:8080/token": true,
		"http://LOCALHOST/token": true, "http://[::ffff:10.0.0.1]/token": false, "http://0.0.0.0/token": false,
	} {
		s := Security{Protocol: "SASL_SSL", Mechanism: "OAUTHBEARER", TokenURL: address, ClientID: "walpost", ClientSecret: "canary"}
		errs := s.Check()
		if (len(errs) == 0) != want {
			t.Errorf("%s: %v", address, errs)
		}
		if len(errs) > 0 && errs[0].Key != "sasl.oauthbearer.token.endpoint.url" {
			t.Errorf("%s: key %s", address, errs[0].Key)
		}
	}

	i := sinktest.NewIssuer(t, time.Hour)
	for _, to := range []string{"http://id.example/token", "http://localhost:1/token"} {
		redirects := httptest.NewServer(http.RedirectHandler(to, http.StatusTemporaryRedirect))
		defer redirects.Close()
		s := securityOf(i)
		s.TokenURL = redirects.URL
		_, err := s.tokens().Token(t.Context())
		if refused := errors.Is(err, errClearText); refused != (to == "http://id.example/token") || err == nil {
			t.Errorf("redirected to %s: %v", to, err)
		}
	}
}
