// Package adminclient asks the admin server of a running relay how it is doing, for the verbs status and doctor.
//
// A request takes no longer than five seconds and goes through no proxy. Errors never show the login; they name the flags --address and
// --login-file where those are the cure. Where to ask, and what to do when no relay answers, is for the caller to decide.
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

// maxBody is how much of an answer is read, in bytes.
const maxBody = 1 << 20

// withoutProxy is the HTTP client: what is asked is on this machine, or near. An admin server sends nobody elsewhere, and the login is for none
// but the one that was named.
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

// New returns a client for the admin server at address: host:port, http://host:port or https://host:port. Where a server listens on all
// interfaces, it is asked at loopback. The error does not repeat the address: there may be a password in it.
func New(address string) (*Client, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || strings.Trim(base.Path, "/") != "" {
		return nil, errors.New("is no address of the form host:port, http://host:port or https://host:port")
	}
	base.Path, base.Host = "", dialAddress(base.Host)
	return &Client{base: base}, nil
}

// SetLogin makes the client log in, as a user of the server's admin.web_config. A password goes unencrypted no further than this machine.
func (c *Client) SetLogin(user, password string) error {
	if c.base.Scheme != "https" && !isThisMachine(c.base.Hostname()) {
		return fmt.Errorf("the password would go to %s unencrypted; name it as https://%[1]s, with TLS in its admin.web_config", c.base.Host)
	}
	c.user, c.password = user, password
	return nil
}

// isThisMachine reports whether a host is this machine, whatever a name server says.
func isThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Host returns the host and port that are asked.
func (c *Client) Host() string { return c.base.Host }

// dialAddress returns where a server that listens on hostport can be reached from this machine.
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

// ErrHidden is the error of a relay that answers but does not show its state to this client.
var ErrHidden = errors.New("it shows its state on loopback only, or to whom its admin.web_config asks for a password or a client certificate")

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

// Report asks for the relay's state, and returns its JSON, too, which may hold more than this program knows. With ErrHidden the report
// holds only what /readyz tells: Ready, and Role or Reason. Any other error means that no relay at the address can be understood.
func (c *Client) Report(ctx context.Context) (r report.Report, text []byte, err error) {
	code, text, err := c.get(ctx, "/api/status")
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // the caller says where it asked
	}
	switch {
	case err != nil:
		return r, nil, err
	case code == http.StatusUnauthorized:
		return r, nil, errors.New("it wants a login: name a file that holds user:password by --login-file")
	case code == http.StatusBadRequest && strings.Contains(string(text), "HTTPS"):
		return r, nil, fmt.Errorf("it speaks TLS: name it by --address https://%s", c.base.Host)
	case code == http.StatusNotFound:
		return c.readiness(ctx)
	case code != http.StatusOK:
		return r, nil, fmt.Errorf("it answers with status %d", code)
	}
	if err := json.Unmarshal(text, &r); err != nil || r.Role == "" {
		return r, nil, errors.New("what answers there is no walpost")
	}
	return r, text, nil
}

// readiness asks /readyz, which every relay answers to everybody.
func (c *Client) readiness(ctx context.Context) (r report.Report, _ []byte, err error) {
	code, text, err := c.get(ctx, "/readyz")
	var body struct{ Role, Reason string }
	if err != nil || code != http.StatusOK && code != http.StatusServiceUnavailable || json.Unmarshal(text, &body) != nil || body.Role == "" && body.Reason == "" {
		return r, nil, errors.New("what answers there is no walpost")
	}
	r.Role, r.Ready = body.Role, code == http.StatusOK
	r.Reason, r.ReasonCode = body.Reason, reason.Code(body.Reason)
	return r, nil, ErrHidden
}
