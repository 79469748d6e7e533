// Package certs makes throwaway certificates for servers under test.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Files are the paths of PEM files.
type Files struct {
	CA   string // the authority's certificate: what a client trusts
	Cert string // the server's certificate, for 127.0.0.1 and localhost
	Key  string // the server's private key, PKCS #8, which only its owner may read
	// Bundle is one file with key, certificate and authority, for Kafka's ssl.keystore.location with ssl.keystore.type=PEM.
	Bundle string
}

// Write creates an authority and a server certificate signed by it, both valid for a day, and writes them into dir. Use different names for
// different authorities, for example to test a wrong one.
func Write(dir, name string) (Files, error) {
	a, err := NewAuthority(name)
	if err != nil {
		return Files{}, err
	}
	return a.Issue(dir, name, nil)
}

// Authority signs certificates. Its methods may be called from any goroutine.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
	issued      atomic.Int64 // the number of certificates, its own included; also the last serial number
}

// NewAuthority creates an authority that is valid for a day.
func NewAuthority(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	t := template(1, name+" test authority")
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	a := &Authority{certificate: t, key: key, pem: encode("CERTIFICATE", der)}
	a.issued.Store(1)
	return a, nil
}

// Issue creates a certificate and writes it into files in dir that begin with name. The certificate is for servers and clients at 127.0.0.1
// and localhost, and valid for a day. change, if not nil, may change that.
func (a *Authority) Issue(dir, name string, change func(*x509.Certificate)) (Files, error) {
	f := Files{
		CA:     filepath.Join(dir, name+"-ca.pem"),
		Cert:   filepath.Join(dir, name+"-cert.pem"),
		Key:    filepath.Join(dir, name+"-key.pem"),
		Bundle: filepath.Join(dir, name+"-bundle.pem"),
	}
	cert, key, err := a.issue(change)
	if err != nil {
		return Files{}, fmt.Errorf("make a certificate: %w", err)
	}
	bundle := append(append(append([]byte{}, key...), cert...), a.pem...)
	for path, content := range map[string][]byte{f.CA: a.pem, f.Cert: cert, f.Key: key, f.Bundle: bundle} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return Files{}, err
		}
	}
	return f, nil
}

// issue creates a certificate and its key, each PEM-encoded.
func (a *Authority) issue(change func(*x509.Certificate)) (cert, key []byte, err error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := template(a.issued.Add(1), "localhost")
	t.KeyUsage = x509.KeyUsageDigitalSignature
	// A broker is also a client of the other brokers.
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.DNSNames, t.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	if change != nil {
		change(t)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.certificate, &own.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		return nil, nil, err
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER), nil
}

func template(serial int64, name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour), // a clock that is behind ours must not make it fail
		NotAfter:     now.Add(24 * time.Hour),
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
