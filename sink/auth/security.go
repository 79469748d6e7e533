package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/xdg-go/scram"
)

// Security holds the settings for TLS and login, with Kafka's own names. The zero value is plain text without authentication.
type Security struct {
	Protocol  string // security.protocol; "" is PLAINTEXT
	Mechanism string // sasl.mechanism
	Username  string // sasl.username
	Password  string // sasl.password

	TokenURL     string // sasl.oauthbearer.token.endpoint.url
	ClientID     string // sasl.oauthbearer.client.id
	ClientSecret string // sasl.oauthbearer.client.secret
	Scope        string // sasl.oauthbearer.scope

	CAFile      string // ssl.ca.location; "" trusts the system's authorities
	CertFile    string // ssl.certificate.location
	KeyFile     string // ssl.key.location
	KeyPassword string // ssl.key.password
}

// The values of security.protocol and sasl.mechanism.
var (
	protocols  = []string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}
	mechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"}
)

// KeyError is an error in one of Kafka's properties. Its text never shows a secret.
type KeyError struct {
	Key string // in Kafka's spelling
	Err error
}

// Error names the key first.
func (e *KeyError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *KeyError) Unwrap() error { return e.Err }

func wrong(key, format string, args ...any) *KeyError {
	return &KeyError{key, fmt.Errorf(format, args...)}
}

// SSL reports whether connections are encrypted.
func (s Security) SSL() bool { return s.Protocol == "SSL" || s.Protocol == "SASL_SSL" }

// SASL reports whether connections begin with a login.
func (s Security) SASL() bool { return strings.HasPrefix(s.Protocol, "SASL_") }

// Check returns all errors in the settings, including those in the files that they name. A setting that the protocol does not use is an
// error too: a user who sets a certificate believes that the connection is encrypted.
func (s Security) Check() []*KeyError {
	if s.Protocol != "" && !slices.Contains(protocols, s.Protocol) {
		return []*KeyError{wrong("security.protocol", "%q is not one of %s", s.Protocol, strings.Join(protocols, ", "))}
	}
	errs := append(s.checkSASL(), s.checkSSL()...)
	if len(errs) > 0 {
		return errs
	}
	var key *KeyError
	if _, err := s.TLS(); errors.As(err, &key) {
		errs = append(errs, key)
	}
	return errs
}

func (s Security) checkSASL() (errs []*KeyError) {
	protocol := max(s.Protocol, "PLAINTEXT")
	if !s.SASL() {
		const vain = "is set, but security.protocol is %s, which does not log in; set SASL_SSL or SASL_PLAINTEXT"
		switch {
		case s.Mechanism != "":
			errs = append(errs, wrong("sasl.mechanism", vain, protocol))
		case s.Password != "":
			errs = append(errs, wrong("sasl.password", vain, protocol))
		}
		return errs
	}
	need := func(key, value string) {
		if value == "" {
			errs = append(errs, wrong(key, "is required by sasl.mechanism %s", s.Mechanism))
		}
	}
	switch s.Mechanism {
	case "":
		return []*KeyError{wrong("sasl.mechanism", "is required by security.protocol %s; one of %s", protocol, strings.Join(mechanisms, ", "))}
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		need("sasl.username", s.Username)
		need("sasl.password", s.Password)
		if _, err := scram.SHA256.NewClient(s.Username, s.Password, ""); err != nil && s.Mechanism != "PLAIN" {
			// The library's error quotes the characters.
			errs = append(errs, wrong("sasl.password", "it or sasl.username has characters that SCRAM forbids (RFC 4013)"))
		}
	case "OAUTHBEARER":
		need("sasl.oauthbearer.token.endpoint.url", s.TokenURL)
		need("sasl.oauthbearer.client.id", s.ClientID)
		need("sasl.oauthbearer.client.secret", s.ClientSecret)
		const key = "sasl.oauthbearer.token.endpoint.url"
		switch u, err := url.Parse(s.TokenURL); {
		case s.TokenURL == "":
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil:
			errs = append(errs, wrong(key, "is not an address of the form https://host/path"))
		case !encrypted(u):
			errs = append(errs, wrong(key, "http would send the client's secret to %s in clear text; use https://, which is required except for a loopback address", u.Hostname()))
		}
	default:
		errs = append(errs, wrong("sasl.mechanism", "%q is not one of %s", s.Mechanism, strings.Join(mechanisms, ", ")))
	}
	return errs
}

func (s Security) checkSSL() (errs []*KeyError) {
	if !s.SSL() {
		for _, f := range []struct{ key, value string }{
			{"ssl.ca.location", s.CAFile}, {"ssl.certificate.location", s.CertFile}, {"ssl.key.location", s.KeyFile}, {"ssl.key.password", s.KeyPassword},
		} {
			if f.value != "" {
				errs = append(errs, wrong(f.key, "is set, but security.protocol is %s, which does not encrypt; set SSL or SASL_SSL", max(s.Protocol, "PLAINTEXT")))
			}
		}
		return errs
	}
	switch {
	case s.CertFile != "" && s.KeyFile == "":
		errs = append(errs, wrong("ssl.key.location", "is required by ssl.certificate.location"))
	case s.CertFile == "" && s.KeyFile != "":
		errs = append(errs, wrong("ssl.certificate.location", "is required by ssl.key.location"))
	case s.KeyFile == "" && s.KeyPassword != "":
		errs = append(errs, wrong("ssl.key.password", "is set, but no key is; set ssl.certificate.location and ssl.key.location"))
	}
	return errs
}

// TLS returns how to encrypt, or nil if security.protocol does not encrypt. It reads the files that the settings name. The error is a
// [*KeyError]. The dialer has to set the server's name.
func (s Security) TLS() (*tls.Config, error) {
	if !s.SSL() {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, &KeyError{"ssl.ca.location", err}
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, wrong("ssl.ca.location", "%s holds no certificate in PEM form; convert a JKS or PKCS #12 store: openssl pkcs12 -in STORE -nokeys -out ca.pem", s.CAFile)
		}
	}
	if s.CertFile != "" {
		pair, err := s.certificate()
		if err != nil {
			return nil, err
		}
		// It is shown to every broker, whichever authorities that one asks for: a broker that refuses it says why.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return cfg, nil
}
