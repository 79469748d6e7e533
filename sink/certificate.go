package sink

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// certificate is the client's, read from its files again whenever one of them has changed: certificates are rotated under a process
// that runs for months.
type certificate struct {
	certFile, keyFile, password string

	mu    sync.Mutex
	read  [2]stamp // of the files when they were last read
	valid *tls.Certificate
}

// stamp tells one state of a file from another. Its size is part of it because two writes may fall into one tick of the clock.
type stamp struct {
	modified time.Time
	size     int64
}

// get is the GetClientCertificate of a [tls.Config]. Files that cannot be read at this moment, because somebody is writing them, leave
// the certificate that is known; they are tried again at the next connection.
func (c *certificate) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, err := c.stamps()
	if err == nil && c.valid != nil && now == c.read {
		return c.valid, nil
	}
	var fresh *tls.Certificate
	if err == nil {
		fresh, err = c.load()
	}
	switch {
	case err == nil:
		c.valid, c.read = fresh, now
	case c.valid == nil:
		return nil, err
	}
	return c.valid, nil
}

func (c *certificate) stamps() (s [2]stamp, err error) {
	for i, f := range []struct{ key, path string }{{"ssl.certificate.location", c.certFile}, {"ssl.key.location", c.keyFile}} {
		info, err := os.Stat(f.path)
		if err != nil {
			return s, &KeyError{f.key, err}
		}
		s[i] = stamp{info.ModTime(), info.Size()}
	}
	return s, nil
}

func (c *certificate) load() (*tls.Certificate, error) {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return nil, &KeyError{"ssl.certificate.location", err}
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return nil, &KeyError{"ssl.key.location", err}
	}
	if key, err = openKey(key, c.password); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, wrong("ssl.certificate.location", "%s and ssl.key.location %s: %w", c.certFile, c.keyFile, err)
	}
	return &pair, nil
}

// refusedCertificate tells whether the peer ended the handshake because of what we are: no certificate, a wrong one, none of its ways to
// encrypt. The alert has no exported type; its texts are those of the standard library.
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
