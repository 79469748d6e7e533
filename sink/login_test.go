package sink

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"walpost/internal/kafkatest"
	"walpost/internal/testenv/certs"
)

// issuer gives tokens that a broker takes which trusts unsigned ones, to whoever knows the secret.
type issuer struct {
	*httptest.Server
	asked    atomic.Int32
	lifetime time.Duration
}

func newIssuer(t *testing.T, lifetime time.Duration) *issuer {
	i := &issuer{lifetime: lifetime}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.asked.Add(1)
	w.Header().Set("Content-Type", "application/json")
	name, secret, _ := r.BasicAuth()
	if r.FormValue("grant_type") != "client_credentials" || name != "walpost" || secret != "secret" || r.FormValue("scope") != "kafka" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error": "invalid_client", "error_description": "no such client"}`)
		return
	}
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now()
	token := part(map[string]string{"alg": "none"}) + "." + part(map[string]any{"sub": name, "iat": now.Unix(), "exp": now.Add(i.lifetime).Unix(), "n": i.asked.Load()}) + "."
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(i.lifetime.Seconds())})
}

func (i *issuer) security() Security {
	return Security{Protocol: "SASL_PLAINTEXT", Mechanism: "OAUTHBEARER", TokenURL: i.URL, ClientID: "walpost", ClientSecret: "secret", Scope: "kafka"}
}

// A token is kept, but not until its very end.
func TestTokensAreRefreshedEarly(t *testing.T) {
	for lifetime, want := range map[time.Duration]int32{time.Hour: 1, tokenEarly + time.Hour: 1, tokenEarly - time.Second: 3} {
		i := newIssuer(t, lifetime)
		p := i.security().tokens()
		i.asked.Store(0)
		for range 3 {
			if _, err := p.Token(); err != nil {
				t.Fatal(err)
			}
		}
		if n := i.asked.Load(); n != want {
			t.Errorf("%s: asked %d times, want %d", lifetime, n, want)
		}
	}
}

func TestRefusedTokens(t *testing.T) {
	i := newIssuer(t, time.Hour)
	s := i.security()
	s.ClientSecret = "canary"
	_, err := s.tokens().Token()
	want := "get a token from kafka.sasl.oauthbearer.token.endpoint.url " + i.URL + ": invalid_client no such client; check kafka.sasl.oauthbearer.client.id, .client.secret and .scope"
	if message(err) != want || !errors.Is(err, sarama.ErrSASLAuthenticationFailed) || !permanent(err) {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	i.Close()
	if _, err = s.tokens().Token(); err == nil || permanent(err) || strings.Contains(err.Error(), "canary") {
		t.Errorf("issuer gone: %v", err)
	}
}

// A token is for the client that it was given to: who has another secret by now asks for another one.
func TestTokensFollowTheClient(t *testing.T) {
	i := newIssuer(t, time.Hour)
	s := i.security()
	a := &access{settings: func() Security { return s }}
	for range 2 {
		if _, err := a.Token(); err != nil {
			t.Fatal(err)
		}
	}
	s.ClientSecret = "canary"
	if _, err := a.Token(); err == nil {
		t.Error("a token of before, for a secret that the issuer does not know")
	}
}

// One real broker with every way to log in, over TLS with certificates on both sides.
func TestLogins(t *testing.T) {
	dir := t.TempDir()
	files, err := certs.Write(dir, "kafka")
	if err != nil {
		t.Fatal(err)
	}
	strangers, err := certs.Write(dir, "stranger")
	if err != nil {
		t.Fatal(err)
	}
	const jaas, security = "listener.name.client.%s.sasl.jaas.config", "org.apache.kafka.common.security."
	cluster := kafkatest.Start(t, kafkatest.Options{
		Protocol: "SASL_SSL",
		Properties: map[string]string{
			"ssl.keystore.type":                              "PEM",
			"ssl.keystore.location":                          files.Bundle,
			"ssl.truststore.type":                            "PEM",
			"ssl.truststore.location":                        files.CA,
			"listener.name.client.ssl.client.auth":           "required",
			"sasl.enabled.mechanisms":                        "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
			fmt.Sprintf(jaas, "plain"):                       security + `plain.PlainLoginModule required user_alice="secret";`,
			fmt.Sprintf(jaas, "scram-sha-256"):               security + "scram.ScramLoginModule required;",
			fmt.Sprintf(jaas, "scram-sha-512"):               security + "scram.ScramLoginModule required;",
			fmt.Sprintf(jaas, "oauthbearer"):                 security + `oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
			"listener.name.client.connections.max.reauth.ms": "3600000",
		},
		Format: []string{"--add-scram", "SCRAM-SHA-256=[name=bob,password=secret]", "--add-scram", "SCRAM-SHA-512=[name=carol,password=secret]"},
	})
	kafkatest.Topic(t, cluster.Internal(), "logins", 1, nil)
	base := Security{Protocol: "SASL_SSL", CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key}
	with := func(mechanism, user, password string) Security {
		s := base
		s.Mechanism, s.Username, s.Password = mechanism, user, password
		return s
	}
	oauth := newIssuer(t, time.Hour).security()
	oauth.Protocol, oauth.CAFile, oauth.CertFile, oauth.KeyFile = "SASL_SSL", files.CA, files.Cert, files.Key
	stranger, unknown := with("PLAIN", "alice", "secret"), with("PLAIN", "alice", "secret")
	stranger.CAFile = strangers.CA
	unknown.CertFile, unknown.KeyFile = strangers.Cert, strangers.Key
	badToken := oauth
	badToken.ClientSecret = "wrong"
	for _, test := range []struct {
		name     string
		security Security
		wrong    string // what the error says; "": welcome
	}{
		{"PLAIN", with("PLAIN", "alice", "secret"), ""},
		{"SCRAM-SHA-256", with("SCRAM-SHA-256", "bob", "secret"), ""},
		{"SCRAM-SHA-512", with("SCRAM-SHA-512", "carol", "secret"), ""},
		{"OAUTHBEARER", oauth, ""},
		{"wrong password", with("PLAIN", "alice", "canary"), "Authentication failed"},
		{"wrong password, SCRAM", with("SCRAM-SHA-512", "carol", "canary"), "Authentication failed"},
		{"no token", badToken, "invalid_client no such client"},
		{"client of a stranger", unknown, "remote error: tls: unknown certificate"},
		{"server of a stranger", stranger, "certificate signed by unknown authority"},
		{"no TLS", Security{Protocol: "PLAINTEXT"}, "the listener speaks TLS, and kafka.security.protocol is PLAINTEXT; set it to SSL,"},
		{"no TLS below a login", Security{Protocol: "SASL_PLAINTEXT", Mechanism: "PLAIN", Username: "alice", Password: "canary"},
			"the listener speaks TLS, and kafka.security.protocol is SASL_PLAINTEXT; set it to SASL_SSL,"},
		{"no login", Security{Protocol: "SSL", CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key},
			"the listener wants a login, and kafka.security.protocol is SSL; set it to SASL_SSL, and kafka.sasl.mechanism to one of those that are enabled there: OAUTHBEARER, PLAIN, SCRAM-SHA-256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := config(t, cluster.Brokers())
			cfg.Security = test.security
			if test.wrong == "" { // what was there at the start is of no interest
				cfg.Security.Password, cfg.Security.ClientSecret = "canary", "canary"
				cfg.Renew = func() Security { return test.security }
			}
			k, err := NewKafka(cfg)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			acks := newLedger()
			p, err := k.Open(ctx, acks)
			if test.wrong != "" {
				var perm interface{ Permanent() bool }
				if err == nil || !strings.Contains(err.Error(), test.wrong) || !errors.As(err, &perm) || strings.Contains(err.Error(), "canary") {
					t.Errorf("error: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			publish(t, p, event("logins", "k", 1), 1)
			p.Flush(false)
			acks.wait(t, 1, 0)
		})
	}
}
