package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"walpost/internal/reason"
)

// Refused reports whether err is a refusal that only a person can cure: a refused login, or a refused certificate on either side.
func Refused(err error) bool {
	var unknownCA x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return refusedLogin(err) ||
		errors.As(err, &unknownCA) || errors.As(err, &hostname) || errors.As(err, &invalid) || errors.As(err, &verify) ||
		errors.As(err, &record) || refusedCertificate(err)
}

// refusedLogin reports whether brokers refuse the login. errors.Is finds these errors of sarama's, and errors.As does not.
func refusedLogin(err error) bool {
	return errors.Is(err, sarama.ErrSASLAuthenticationFailed) || errors.Is(err, sarama.ErrUnsupportedSASLMechanism) ||
		errors.Is(err, sarama.ErrIllegalSASLState)
}

// Reason returns the reason code of an error that is [Refused].
func Reason(err error) reason.Code {
	if refusedLogin(err) {
		return reason.KafkaLogin
	}
	return reason.KafkaTLS
}

// Cure returns what a person can do about an error that is [Refused].
func (s Security) Cure(err error) string {
	if refusedLogin(err) {
		if errors.As(err, new(*refusedToken)) {
			return "the issuer gave no token, so no broker was asked"
		}
		if s.Mechanism == sarama.SASLTypeOAuth {
			return "make the brokers trust the tokens of kafka.sasl.oauthbearer.token.endpoint.url (" + s.TokenURL + ")"
		}
		return fmt.Sprintf("check kafka.sasl.mechanism (%s), kafka.sasl.username (%s) and its password, and that the brokers know them", s.Mechanism, s.Username)
	}
	return "check that kafka.ssl.ca.location, the client certificate and the host names in kafka.bootstrap.servers fit the brokers' certificates, " +
		"and that kafka.security.protocol fits the listener"
}
