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

// checkWebConfig returns an error, on one line, if the file of admin.web_config is wrong.
func checkWebConfig(name string) error {
	err := web.Validate(name)
	if err == nil {
		return nil
	}
	const format = "write it as Prometheus documents it, with no other keys than basic_auth_users, tls_server_config, http_server_config and rate_limit"
	if e := (*fs.PathError)(nil); errors.As(err, &e) && e.Path == name {
		return fmt.Errorf("%s: %w; name a file that this user may read", name, err)
	}
	return fmt.Errorf("%s: %s; %s", name, webConfigReason(err.Error()), format)
}

// WebConfigHasUsers reports whether the file of admin.web_config asks for a user and a password. It uses the same parser as the server that
// asks for them, so that the two cannot disagree.
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

// webConfigReason translates an error of the library. The library's text quotes the file, which contains keys and hashes of passwords, or
// may be a wrong file altogether.
func webConfigReason(text string) string {
	for _, w := range []struct{ begins, reason string }{
		{"yaml: unmarshal errors:", "it has keys or values that are not allowed in this file" + linesOf(text)},
		{"yaml:", "it is not valid YAML" + linesOf(text)},
		{"crypto/bcrypt", "basic_auth_users has a password that is not a bcrypt hash (htpasswd -nB NAME makes one)"},
		{"unknown cipher", "cipher_suites names an unknown cipher suite"},
		{"unknown curve", "curve_preferences names an unknown curve"},
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
		{"client CA's have been configured", "client_ca_file needs a client_auth_type that asks for certificates, such as RequireAndVerifyClientCert"},
	} {
		if strings.HasPrefix(text, w.begins) {
			return w.reason
		}
	}
	return "it cannot be used"
}

// lineNumber matches the line number in the parser's error. The text that the error quotes may look like this, too, so only digits are
// taken.
var lineNumber = regexp.MustCompile(`(?m)^(?:yaml:)?\s*line (\d{1,6}): `)

// linesOf returns the first line that a parser's error is about, as text.
func linesOf(text string) string {
	if m := lineNumber.FindStringSubmatch(text); m != nil {
		return " (line " + m[1] + ")"
	}
	return ""
}
