package auth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"walpost/internal/testenv/certs"
)

func TestSecuritySettings(t *testing.T) {
	dir := t.TempDir()
	files, err := certs.Write(dir, "kafka")
	if err != nil {
		t.Fatal(err)
	}
	others, err := certs.Write(dir, "other")
	if err != nil {
		t.Fatal(err)
	}
	scram := Security{Protocol: "SASL_SSL", Mechanism: "SCRAM-SHA-256", Username: "me", Password: "secret"}
	oauth := Security{Protocol: "SASL_SSL", Mechanism: "OAUTHBEARER", TokenURL: "https://id/token", ClientID: "me", ClientSecret: "secret"}
	for _, test := range []struct {
		name     string
		security Security
		want     []string
	}{
		{name: "nothing", security: Security{}},
		{name: "plain text", security: Security{Protocol: "PLAINTEXT"}},
		{name: "the system's authorities", security: Security{Protocol: "SSL"}},
		{name: "own authority and certificate", security: Security{Protocol: "SSL", CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key}},
		{name: "SCRAM", security: scram},
		{name: "OAUTHBEARER", security: oauth},
		{name: "no protocol", security: Security{Protocol: "TLS"},
			want: []string{`security.protocol: "TLS" is not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL`}},
		{name: "no mechanism", security: Security{Protocol: "SASL_PLAINTEXT"},
			want: []string{"sasl.mechanism: is required by security.protocol SASL_PLAINTEXT; one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER"}},
		{name: "another mechanism", security: Security{Protocol: "SASL_SSL", Mechanism: "GSSAPI"},
			want: []string{`sasl.mechanism: "GSSAPI" is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER`}},
		{name: "nobody", security: Security{Protocol: "SASL_SSL", Mechanism: "PLAIN"},
			want: []string{"sasl.username: is required by sasl.mechanism PLAIN", "sasl.password: is required by sasl.mechanism PLAIN"}},
		{name: "characters that SCRAM forbids", security: Security{Protocol: "SASL_SSL", Mechanism: "SCRAM-SHA-512", Username: "me", Password: "canary\x07"},
			want: []string{"sasl.password: it or sasl.username has characters that SCRAM forbids (RFC 4013)"}},
		{name: "no client", security: Security{Protocol: "SASL_SSL", Mechanism: "OAUTHBEARER", TokenURL: "id/token"},
			want: []string{"sasl.oauthbearer.client.id: is required by sasl.mechanism OAUTHBEARER", "sasl.oauthbearer.client.secret: is required by sasl.mechanism OAUTHBEARER",
				"sasl.oauthbearer.token.endpoint.url: is not an address of the form https://host/path"}},
		{name: "a mechanism for nothing", security: Security{Mechanism: "PLAIN", Username: "me", Password: "secret"},
			want: []string{"sasl.mechanism: is set, but security.protocol is PLAINTEXT, which does not log in; set SASL_SSL or SASL_PLAINTEXT"}},
		{name: "a password for nothing", security: Security{Username: "me", Password: "secret"},
			want: []string{"sasl.password: is set, but security.protocol is PLAINTEXT, which does not log in; set SASL_SSL or SASL_PLAINTEXT"}},
		{name: "a key's password without encryption", security: Security{KeyPassword: "secret"},
			want: []string{"ssl.key.password: is set, but security.protocol is PLAINTEXT, which does not encrypt; set SSL or SASL_SSL"}},
		{name: "a key's password without a key", security: Security{Protocol: "SSL", KeyPassword: "secret"},
			want: []string{"ssl.key.password: is set, but no key is; set ssl.certificate.location and ssl.key.location"}},
		{name: "a certificate for nothing", security: Security{Protocol: "PLAINTEXT", CAFile: files.CA},
			want: []string{"ssl.ca.location: is set, but security.protocol is PLAINTEXT, which does not encrypt; set SSL or SASL_SSL"}},
		{name: "half a pair", security: Security{Protocol: "SSL", CertFile: files.Cert},
			want: []string{"ssl.key.location: is required by ssl.certificate.location"}},
		{name: "the other half", security: Security{Protocol: "SSL", KeyFile: files.Key},
			want: []string{"ssl.certificate.location: is required by ssl.key.location"}},
		{name: "no file", security: Security{Protocol: "SSL", CAFile: "/no/such"},
			want: []string{"ssl.ca.location: open /no/such: no such file or directory"}},
		{name: "no authority", security: Security{Protocol: "SSL", CAFile: files.Key},
			want: []string{"ssl.ca.location: " + files.Key + " holds no certificate in PEM form; convert a JKS or PKCS #12 store: openssl pkcs12 -in STORE -nokeys -out ca.pem"}},
		{name: "no pair", security: Security{Protocol: "SSL", CertFile: files.Cert, KeyFile: others.Key},
			want: []string{"ssl.certificate.location: " + files.Cert + " and ssl.key.location " + others.Key + ": tls: private key does not match public key"}},
		{name: "password for what is encrypted", security: Security{Protocol: "SSL", CertFile: files.Cert, KeyFile: "testdata/keys/aes-128-cbc-hmacWithSHA1.pem"},
			want: []string{"ssl.key.password: is required: the key in ssl.key.location is encrypted"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, e := range test.security.Check() {
				got = append(got, e.Error())
			}
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestNoTLSWithoutSSL(t *testing.T) {
	for protocol, encrypted := range map[string]bool{"": false, "PLAINTEXT": false, "SASL_PLAINTEXT": false, "SSL": true, "SASL_SSL": true} {
		if cfg, err := (Security{Protocol: protocol}).TLS(); err != nil || (cfg != nil) != encrypted {
			t.Errorf("%q: %v %v", protocol, cfg, err)
		}
	}
}

func TestEncryptedKeys(t *testing.T) {
	const keys = "testdata/keys/"
	for file, want := range map[string]string{
		"plain.pem":                      "",
		"aes-128-cbc-hmacWithSHA1.pem":   "",
		"aes-192-cbc-hmacWithSHA384.pem": "",
		"aes-256-cbc-hmacWithSHA256.pem": "",
		"aes-256-cbc-hmacWithSHA512.pem": "",
		"des3.pem":                       "ssl.key.location: the key is not encrypted with AES-CBC; " + convertKey,
		"scrypt.pem":                     "ssl.key.location: the encryption of the key does not use PBKDF2; " + convertKey,
		"pbes1.pem":                      "ssl.key.location: the key is not encrypted with PBES2; " + convertKey,
		"traditional.pem":                "ssl.key.location: the key is encrypted in OpenSSL's old form, whose password is easy to guess; " + convertKey,
	} {
		s := Security{Protocol: "SSL", CertFile: keys + "cert.pem", KeyFile: keys + file, KeyPassword: "secret"}
		cfg, err := s.TLS()
		if got := message(err); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
		if err == nil && cfg.GetClientCertificate == nil {
			t.Errorf("%s: no certificate", file)
		}
	}
	s := Security{Protocol: "SSL", CertFile: keys + "cert.pem", KeyFile: keys + "aes-256-cbc-hmacWithSHA256.pem", KeyPassword: "Secret"}
	if _, err := s.TLS(); message(err) != "ssl.key.password: does not open the key in ssl.key.location" {
		t.Errorf("wrong password: %v", err)
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Any content of the file gives an error and no panic.
func FuzzDecryptKey(f *testing.F) {
	for _, name := range []string{"aes-128-cbc-hmacWithSHA1", "aes-256-cbc-hmacWithSHA256", "scrypt", "des3"} {
		file, err := os.ReadFile("testdata/keys/" + name + ".pem")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		key, err := openKey(file, "secret")
		if (key == nil) != (err != nil) && len(file) > 0 {
			t.Errorf("%q, %v", key, err)
		}
	})
}

// Renewed files are used from the next connection on; files that are being written are not.
func TestCertificateRotation(t *testing.T) {
	dir := t.TempDir()
	first, err := certs.Write(dir, "first")
	if err != nil {
		t.Fatal(err)
	}
	second, err := certs.Write(dir, "second")
	if err != nil {
		t.Fatal(err)
	}
	s := Security{Protocol: "SSL", CAFile: filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
	install := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install(first.CA, s.CAFile)
	install(first.Cert, s.CertFile)
	install(first.Key, s.KeyFile)
	var logged strings.Builder
	a, err := New(s, nil, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	using := func(want certs.Files, what string) {
		t.Helper()
		cfg := a.TLS()
		pair, err := tls.LoadX509KeyPair(want.Cert, want.Key)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := cfg.GetClientCertificate(nil); !bytes.Equal(got.Certificate[0], pair.Certificate[0]) {
			t.Errorf("%s: another certificate is shown", what)
		}
		trust := x509.NewCertPool()
		ca, err := os.ReadFile(want.CA)
		if err != nil {
			t.Fatal(err)
		}
		trust.AppendCertsFromPEM(ca)
		if !trust.Equal(cfg.RootCAs) {
			t.Errorf("%s: another authority is trusted", what)
		}
	}
	using(first, "at the start")
	install(second.Cert, s.CertFile)
	using(first, "half-way, with the key of before")
	using(first, "half-way, with the key of before")
	if n := strings.Count(logged.String(), "stay in use"); n != 1 {
		t.Errorf("logged %d times: %s", n, &logged)
	}
	install(second.Key, s.KeyFile)
	install(second.CA, s.CAFile)
	using(second, "renewed")
	if err := os.Remove(s.CAFile); err != nil {
		t.Fatal(err)
	}
	using(second, "without a file")
}
