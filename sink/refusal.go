package sink

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/IBM/sarama"

	"walpost/sink/kafkaerror"
)

// permanent tells what only a person can cure before the first connection.
func permanent(err error) bool {
	var unknownCA x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return refusedLogin(err) || errors.As(err, new(*mismatch)) ||
		errors.As(err, &unknownCA) || errors.As(err, &hostname) || errors.As(err, &invalid) || errors.As(err, &verify) ||
		errors.As(err, &record) || refusedCertificate(err)
}

// refusedLogin tells whether brokers refuse the login. sarama's errors answer to Is and not to As here.
func refusedLogin(err error) bool {
	return errors.Is(err, sarama.ErrSASLAuthenticationFailed) || errors.Is(err, sarama.ErrUnsupportedSASLMechanism) ||
		errors.Is(err, sarama.ErrIllegalSASLState)
}

// loginCure is the cure of a connection that is refused for good.
func (c *Config) loginCure(err error) string {
	if m := (*mismatch)(nil); errors.As(err, &m) {
		return m.cure
	}
	if refusedLogin(err) {
		s := c.security()
		if errors.As(err, new(*refusedToken)) {
			return "no broker was asked"
		}
		if s.Mechanism == sarama.SASLTypeOAuth {
			return "make the brokers trust the tokens of kafka.sasl.oauthbearer.token.endpoint.url (" + s.TokenURL + ")"
		}
		return fmt.Sprintf("check kafka.sasl.mechanism (%s), kafka.sasl.username (%s) and its password, and that the brokers know them", s.Mechanism, s.Username)
	}
	return "make kafka.ssl.ca.location, the client certificate and the host names of kafka.bootstrap.servers fit the brokers' certificates, " +
		"and kafka.security.protocol the listener"
}

// security returns what new connections use.
func (c *Config) security() Security {
	if c.Renew != nil {
		return c.Renew()
	}
	return c.Security
}

// hint is the cure of a wait: brokers only hang up when the protocol is not the one they expect.
func hint(err error) string {
	if kafkaerror.Classify(err) == kafkaerror.Alarm {
		return kafkaerror.Cure(err)
	}
	if code := sarama.KError(0); errors.As(err, &code) {
		return "none is needed: the brokers answer, and give ids once the cluster is up"
	}
	if errors.Is(err, sarama.ErrOutOfBrokers) || hungUp(err) {
		return "is a broker starting there, behind something that takes connections for it? Else: is kafka.security.protocol the one of this listener?"
	}
	return "is the address right, and does a broker listen there?"
}

// exact puts the names at hand into a cure that is written for all.
func (c *Config) exact(cure, topic string) string {
	pairs := []string{}
	if user := c.security().Username; user != "" {
		pairs = append(pairs, "User:NAME", "User:"+user)
	}
	if topic != "" {
		pairs = append(pairs, "--topic NAME", "--topic "+topic)
	}
	return strings.NewReplacer(pairs...).Replace(cure)
}

// permanentError marks what no retry can cure.
type permanentError struct{ error }

func (e *permanentError) Permanent() bool { return true }
func (e *permanentError) Unwrap() error   { return e.error }
