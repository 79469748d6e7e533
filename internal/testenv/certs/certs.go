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
	f := Files{
		CA:     filepath.Join(dir, name+"-ca.pem"),
		Cert:   filepath.Join(dir, name+"-cert.pem"),
		Key:    filepath.Join(dir, name+"-key.pem"),
		Bundle: filepath.Join(dir, name+"-bundle.pem"),
	}
	ca, cert, key, err := issue(name)
	if err != nil {
		return Files{}, fmt.Errorf("make certificates: %w", err)
	}
	bundle := append(append(append([]byte{}, key...), cert...), ca...)
	for path, content := range map[string][]byte{f.CA: ca, f.Cert: cert, f.Key: key, f.Bundle: bundle} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return Files{}, err
		}
	}
	return f, nil
}

// issue makes the two certificates, each PEM-encoded, and the server's key.
func issue(name string) (ca, cert, key []byte, err error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	authority := template(1, name+" test authority")
	authority.IsCA, authority.BasicConstraintsValid = true, true
	authority.KeyUsage = x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, nil, nil, err
	}
	server := template(2, "localhost")
	server.KeyUsage = x509.KeyUsageDigitalSignature
	// A broker is a client of its peers as well.
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	server.DNSNames, server.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	certDER, err := x509.CreateCertificate(rand.Reader, server, authority, &serverKey.PublicKey, caKey)
	if err != nil {
		return nil, nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return nil, nil, nil, err
	}
	return encode("CERTIFICATE", caDER), encode("CERTIFICATE", certDER), encode("PRIVATE KEY", keyDER), nil
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
