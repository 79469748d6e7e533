package auth

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
)

// certificate reads the client's certificate and key.
func (s Security) certificate() (*tls.Certificate, error) {
	cert, err := os.ReadFile(s.CertFile)
	if err != nil {
		return nil, &KeyError{"ssl.certificate.location", err}
	}
	key, err := os.ReadFile(s.KeyFile)
	if err != nil {
		return nil, &KeyError{"ssl.key.location", err}
	}
	if key, err = openKey(key, s.KeyPassword); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, wrong("ssl.certificate.location", "%s and ssl.key.location %s: %w", s.CertFile, s.KeyFile, err)
	}
	return &pair, nil
}

// refusedCertificate reports whether the peer ended the handshake because of us: we sent no certificate or a wrong one, or it supports none
// of our ways to encrypt. Go exports no type for the peer's alert, so this compares the texts of the standard library.
func refusedCertificate(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	for _, part := range []string{"certificate", "access denied", "handshake failure", "protocol version", "insufficient security"} {
		if strings.Contains(op.Err.Error(), part) {
			return true
		}
	}
	return false
}
