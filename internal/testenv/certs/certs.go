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
	Key  string // the server's private key, PKCS #8, readable by its owner alone
	// Bundle is key, certificate and authority in one file, which is what
	// Kafka reads as ssl.keystore.location with ssl.keystore.type=PEM.
	Bundle string
}

// Write makes an authority and a server certificate signed by it, valid for
// a day, and writes them into dir. The name tells authorities apart: a test
// of a wrong authority makes a second one.
func Write(dir, name string) (Files, error) {
	a, err := NewAuthority(name)
	if err != nil {
		return Files{}, err
	}
	return a.Issue(dir, name, nil)
}

// Authority signs certificates. Its methods are for any goroutine.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
	issued      atomic.Int64 // certificates, its own included: the last serial number
}

// NewAuthority makes an authority, valid for a day.
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

// Issue makes a certificate for 127.0.0.1 and localhost, to serve and to be
// a client with, valid for a day, unless change makes it another, and writes
// it into dir, in files named after it.
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

// issue makes a certificate and its key, each PEM-encoded.
func (a *Authority) issue(change func(*x509.Certificate)) (cert, key []byte, err error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := template(a.issued.Add(1), "localhost")
	t.KeyUsage = x509.KeyUsageDigitalSignature
	// A broker is a client of its peers as well.
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
		NotBefore:    now.Add(-time.Hour), // a clock behind ours is no reason to fail
		NotAfter:     now.Add(24 * time.Hour),
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
