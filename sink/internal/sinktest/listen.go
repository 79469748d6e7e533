package sinktest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"walpost/internal/testenv/certs"
)

// TLSListener listens with a certificate for 127.0.0.1. change may alter the certificate; nil: no change. The listener closes with the
// test. Clients need the returned files.
func TLSListener(t testing.TB, change func(*x509.Certificate)) (net.Listener, certs.Files) {
	t.Helper()
	authority, err := certs.NewAuthority("listener")
	if err != nil {
		t.Fatal(err)
	}
	files, err := authority.Issue(t.TempDir(), "listener", change)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, files
}

// SilentListener listens and never sends anything; the kernel accepts the connections. It returns the address.
func SilentListener(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
