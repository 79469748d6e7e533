// Package adminclient asks the admin server of a running relay for its state, for the commands status and doctor.
//
// A request takes at most five seconds and uses no proxy. Errors never show the login; they name the flags --address and --login-file where
// those are the cure. The caller decides where to ask, and what to do if no relay answers.
package adminclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"walpost/cmd/walpost/internal/report"
	"walpost/internal/reason"
)

// requestTimeout is how long a relay may take to answer.
const requestTimeout = 5 * time.Second

// maxBody is how much of an answer is read at most, in bytes.
const maxBody = 1 << 20

// withoutProxy is the HTTP client. It uses no proxy, because the relay runs on this machine or near it. It follows no redirects: an admin
// server sends none, and the login must not go to any other server.
var withoutProxy = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Client asks a running relay's admin server.
type Client struct {
	base     *url.URL
	user     string // "": no login
	password string
}

// New returns a client for the admin server at address: host:port, http://host:port or https://host:port. An address that means all
// interfaces is replaced by loopback. The error does not repeat the address, because it may contain a password.
func New(address string) (*Client, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || strings.Trim(base.Path, "/") != "" {
		return nil, errors.New("must have the form host:port, http://host:port or https://host:port")
	}
	base.Path, base.Host = "", dialAddress(base.Host)
	return &Client{base: base}, nil
}

// SetLogin makes the client log in as a user of the server's admin.web_config. It refuses to send a password unencrypted to another
// machine.
func (c *Client) SetLogin(user, password string) error {
	if c.base.Scheme != "https" && !isThisMachine(c.base.Hostname()) {
		return fmt.Errorf("the password would go to %s unencrypted; set up TLS in its admin.web_config and use https://%[1]s", c.base.Host)
	}
	c.user, c.password = user, password
	return nil
}

// isThisMachine reports whether a host is certainly this machine. It asks no name server.
func isThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Host returns the host and port of the server.
func (c *Client) Host() string { return c.base.Host }

// dialAddress returns the address at which this machine reaches a server that listens on hostport.
func dialAddress(hostport string) string {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return hostport
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// ErrHidden is the error for a relay that answers but does not show its state to this client.
var ErrHidden = errors.New("it shows its state on loopback only, or after a login with a password or a client certificate that its admin.web_config requires")

// get returns the answer's status and body.
func (c *Client) get(ctx context.Context, path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.JoinPath(path).String(), nil)
	if err != nil {
		return 0, nil, err
	}
	if c.user != "" {
		req.SetBasicAuth(c.user, c.password)
	}
	res, err := withoutProxy.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	return res.StatusCode, body, err
}

// ErrNotWalpost is the error for a server that is not walpost's.
var ErrNotWalpost = errors.New("the server there is not walpost")

// Report asks for the relay's state. It also returns the JSON, which may have fields that this program does not know. With ErrHidden the
// report holds only the answer of /readyz: Ready, and Role or Reason. Any other error means that no relay answers at the address, or that
// its answer cannot be read.
func (c *Client) Report(ctx context.Context) (r report.Report, text []byte, err error) {
	code, text, err := c.get(ctx, "/api/status")
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // without the URL: the caller names the address
	}
	switch {
	case err != nil:
		return r, nil, err
	case code == http.StatusUnauthorized:
		return r, nil, errors.New("it asks for a login: put user:password into a file and name that with --login-file")
	case code == http.StatusBadRequest && strings.Contains(string(text), "HTTPS"):
		return r, nil, fmt.Errorf("it speaks TLS: use --address https://%s", c.base.Host)
	case code == http.StatusNotFound:
		return c.readiness(ctx)
	case code != http.StatusOK:
		return r, nil, fmt.Errorf("it answers with status %d", code)
	}
	if err := json.Unmarshal(text, &r); err != nil || r.Role == "" {
		return r, nil, ErrNotWalpost
	}
	return r, text, nil
}

// readiness asks /readyz, which needs no login.
func (c *Client) readiness(ctx context.Context) (r report.Report, _ []byte, err error) {
	code, text, err := c.get(ctx, "/readyz")
	var body struct{ Role, Reason string }
	if err != nil || code != http.StatusOK && code != http.StatusServiceUnavailable || json.Unmarshal(text, &body) != nil || body.Role == "" && body.Reason == "" {
		return r, nil, ErrNotWalpost
	}
	r.Role, r.Ready = body.Role, code == http.StatusOK
	r.Reason, r.ReasonCode = body.Reason, reason.Code(body.Reason)
	return r, nil, ErrHidden
}
