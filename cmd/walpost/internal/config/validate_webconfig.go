package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
)

// checkWebConfig returns, on one line, what is wrong with the file of admin.web_config.
func checkWebConfig(name string) error {
	err := web.Validate(name)
	if err == nil {
		return nil
	}
	const format = "write it as Prometheus has it, with basic_auth_users, tls_server_config, http_server_config and rate_limit alone"
	if e := (*fs.PathError)(nil); errors.As(err, &e) && e.Path == name {
		return fmt.Errorf("%s: %w; name a file that this user may read", name, err)
	}
	return fmt.Errorf("%s: %s; %s", name, webConfigReason(err.Error()), format)
}

// WebConfigHasUsers reports whether the file of admin.web_config asks for a user and a password. It is read with the parser of the server that
// asks, so that the two cannot disagree.
func WebConfigHasUsers(name string) (bool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return false, err
	}
	var c web.Config
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return false, errors.New(webConfigReason(err.Error()))
	}
	return len(c.Users) > 0, nil
}

// webConfigReason is what the library's error says, in words of our own: its words quote the file, which holds hashes of passwords and
// keys, or is another file than was meant.
func webConfigReason(text string) string {
	for _, w := range []struct{ begins, reason string }{
		{"yaml: unmarshal errors:", "it has keys or values that this file cannot have" + linesOf(text)},
		{"yaml:", "it is no YAML" + linesOf(text)},
		{"crypto/bcrypt", "basic_auth_users has a password that is no bcrypt hash (htpasswd -nB NAME makes one)"},
		{"unknown cipher", "cipher_suites names one that there is not"},
		{"unknown curve", "curve_preferences names one that there is not"},
		{"unknown TLS version", "min_version or max_version is none of TLS10, TLS11, TLS12, TLS13"},
		{"HTTP header", "http_server_config.headers has a header that cannot be set there"},
		{"invalid value for ", "http_server_config.headers has a value that its header cannot have"},
		{"failed to read cert_file", "cert_file names no file that this user may read; a relative name starts in the folder of this file"},
		{"failed to read key_file", "key_file names no file that this user may read; a relative name starts in the folder of this file"},
		{"failed to load X509KeyPair", "certificate and key are not a pair in PEM form"},
		{"missing one of cert", "tls_server_config has neither cert nor cert_file"},
		{"missing one of key", "tls_server_config has neither key nor key_file"},
		{"open ", "client_ca_file names no file that this user may read; a relative name starts in the folder of this file"},
		{"invalid ClientAuth", "client_auth_type is none of NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"},
		{"client CA's have been configured", "client_ca_file needs a client_auth_type that asks for certificates, as RequireAndVerifyClientCert"},
	} {
		if strings.HasPrefix(text, w.begins) {
			return w.reason
		}
	}
	return "it cannot be used"
}

// lineNumber is where the parser found something wrong. Such words may stand in what it quotes, too: only digits are taken over.
var lineNumber = regexp.MustCompile(`(?m)^(?:yaml:)?\s*line (\d{1,6}): `)

// linesOf names the first line that a parser's error is about.
func linesOf(text string) string {
	if m := lineNumber.FindStringSubmatch(text); m != nil {
		return " (line " + m[1] + ")"
	}
	return ""
}
