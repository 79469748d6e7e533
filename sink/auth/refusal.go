package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"walpost/internal/reason"
)

// Refused reports whether err is a refusal that only a person can cure: of a login, or of a certificate on either side.
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

// refusedLogin reports whether brokers refuse the login. sarama's errors answer to Is and not to As here.
func refusedLogin(err error) bool {
	return errors.Is(err, sarama.ErrSASLAuthenticationFailed) || errors.Is(err, sarama.ErrUnsupportedSASLMechanism) ||
		errors.Is(err, sarama.ErrIllegalSASLState)
}

// Reason returns the code of an error that is [Refused].
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
