// Package adminclient asks the admin server of a running relay how it is doing.
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
)

// askLimit is how long a relay may take to tell its state.
const askLimit = 5 * time.Second

// answered is the largest answer that is read, in bytes.
const answered = 1 << 20

// direct uses no proxy: what is asked is on this machine, or near.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Client asks a running relay's admin server.
type Client struct {
	base     *url.URL
	user     string // "": none is wanted
	password string
}

// New returns a client for the admin server at address: host:port, http://host:port or https://host:port. An address at which a server
// listens on every interface is asked at loopback. The error does not repeat the address: there may be a password in it.
func New(address string) (*Client, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || strings.Trim(base.Path, "/") != "" {
		return nil, errors.New("is no address of the form host:port, http://host:port or https://host:port")
	}
	base.Path, base.Host = "", dialable(base.Host)
	return &Client{base: base}, nil
}

// SetLogin gives the client what admin.web_config may want: a user's name and password.
func (c *Client) SetLogin(user, password string) { c.user, c.password = user, password }

// Host returns the host and port that are asked.
func (c *Client) Host() string { return c.base.Host }

// dialable is where whoever listens on hostport can be asked from this machine.
func dialable(hostport string) string {
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

// ErrHidden says that a relay answers and does not show its state.
var ErrHidden = errors.New("it shows its state on loopback only, or with admin.web_config")

// get returns the answer's status and body.
func (c *Client) get(ctx context.Context, path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.JoinPath(path).String(), nil)
	if err != nil {
		return 0, nil, err
	}
	if c.user != "" {
		req.SetBasicAuth(c.user, c.password)
	}
	res, err := direct.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, answered))
	return res.StatusCode, body, err
}

// Report asks for the relay's state, and returns it as it came, too. ErrHidden comes with as much as /readyz tells. Any other error: there
// is no relay at the address that this program understands.
func (c *Client) Report(ctx context.Context) (r report.Report, text []byte, err error) {
	code, text, err := c.get(ctx, "/api/status")
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // the URL is said by whoever prints this
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

// readiness asks for what every relay tells everybody.
func (c *Client) readiness(ctx context.Context) (r report.Report, _ []byte, err error) {
	code, text, err := c.get(ctx, "/readyz")
	var body struct{ Role, Reason string }
	if err != nil || code != http.StatusOK && code != http.StatusServiceUnavailable || json.Unmarshal(text, &body) != nil || body.Role == "" && body.Reason == "" {
		return r, nil, errors.New("what answers there is no walpost")
	}
	r.Role, r.Reason, r.Ready = body.Role, body.Reason, code == http.StatusOK
	return r, nil, ErrHidden
}
