package sinktest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Issuer is a token issuer for clients that know the secret. A broker that trusts unsigned tokens accepts its tokens.
type Issuer struct {
	*httptest.Server
	Asked    atomic.Int32 // how often it was asked
	lifetime time.Duration
}

// NewIssuer starts an issuer of tokens with the given lifetime. It ends with the test. The client is walpost, its secret is secret, and the
// scope is kafka.
func NewIssuer(t testing.TB, lifetime time.Duration) *Issuer {
	i := &Issuer{lifetime: lifetime}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

// ServeHTTP implements [http.Handler].
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.Asked.Add(1)
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
	token := part(map[string]string{"alg": "none"}) + "." + part(map[string]any{"sub": name, "iat": now.Unix(), "exp": now.Add(i.lifetime).Unix(), "n": i.Asked.Load()}) + "."
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(i.lifetime.Seconds())})
}
