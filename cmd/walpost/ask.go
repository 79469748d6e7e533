package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walpost/cmd/walpost/internal/config"
	"walpost/cmd/walpost/internal/report"
)

// askLimit is how long a relay may take to tell its state.
const askLimit = 5 * time.Second

// answered is the largest answer that is read, in bytes.
const answered = 1 << 20

// direct uses no proxy: what is asked is on this machine, or near.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// adminClient asks a running relay's admin server.
type adminClient struct {
	base     *url.URL
	user     string // "": none is wanted
	password string
}

// adminFlags are those of verbs that ask a running relay.
type adminFlags struct {
	address   string
	loginFile string
}

func (f *adminFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.address, "address", "", "the relay's admin server, as `host:port` or https://host:port (default admin.listen)")
	cmd.Flags().StringVar(&f.loginFile, "login-file", "", "`file` that holds user:password, where admin.web_config wants them")
}

// asking loads the configuration, and knows where its relay is asked.
func (a *app) asking(cmd *cobra.Command, flags adminFlags) (*config.Config, *adminClient, error) {
	cfg, err := a.configuration(cmd)
	if err != nil {
		return nil, nil, err
	}
	client, err := newAdminClient(cfg, flags)
	return cfg, client, err
}

// newAdminClient knows where to ask: at the address of the flag, else where this configuration's relay listens. nil: it listens nowhere.
func newAdminClient(cfg *config.Config, flags adminFlags) (*adminClient, error) {
	address, from := flags.address, "--address"
	if address == "" {
		address, from = cfg.Admin.Listen, "admin.listen"
	}
	if address == "" {
		return nil, nil
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || strings.Trim(base.Path, "/") != "" {
		return nil, &exitError{exitUsage, errors.New(from + " is no address of the form host:port, http://host:port or https://host:port")} // without it: there may be a password in it
	}
	base.Path, base.Host = "", dialable(base.Host)
	c := &adminClient{base: base}
	if flags.loginFile != "" {
		text, err := os.ReadFile(flags.loginFile)
		if err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--login-file: %w", err)}
		}
		var ok bool
		if c.user, c.password, ok = strings.Cut(strings.TrimSpace(string(text)), ":"); !ok {
			return nil, &exitError{exitUsage, fmt.Errorf("--login-file %s does not hold user:password", flags.loginFile)}
		}
	}
	return c, nil
}

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

// errHidden says that a relay answers and does not show its state.
var errHidden = errors.New("it shows its state on loopback only, or with admin.web_config")

// get returns the answer's status and body.
func (c *adminClient) get(ctx context.Context, path string) (int, []byte, error) {
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

// report asks for the relay's state, and returns it as it came, too. errHidden comes with as much as /readyz tells. Any other error: there
// is no relay at the address that this program understands.
func (c *adminClient) report(ctx context.Context) (r report.Report, text []byte, err error) {
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
func (c *adminClient) readiness(ctx context.Context) (r report.Report, _ []byte, err error) {
	code, text, err := c.get(ctx, "/readyz")
	var body struct{ Role, Reason string }
	if err != nil || code != http.StatusOK && code != http.StatusServiceUnavailable || json.Unmarshal(text, &body) != nil || body.Role == "" && body.Reason == "" {
		return r, nil, errors.New("what answers there is no walpost")
	}
	r.Role, r.Reason, r.Ready = body.Role, body.Reason, code == http.StatusOK
	return r, nil, errHidden
}
