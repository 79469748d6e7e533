package program

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"walpost/internal/testenv/child"
)

// Options say how to run a relay.
type Options struct {
	File  string   // the binary, as Build made it
	Env   []string // its whole environment, except WALPOST_ADMIN_LISTEN
	Log   string   // the file that its output is appended to
	Admin string   // where its admin server listens; empty: on a free port
}

// Relay is a walpost run process, which may have ended.
type Relay struct {
	*child.Process
	Admin string // where its admin server listens
	Log   string // the file that holds its output
}

// Start starts walpost run in a home. It does not wait until the relay is ready.
func Start(home *child.Home, o Options) (*Relay, error) {
	if o.Admin == "" {
		port, err := child.FreePort()
		if err != nil {
			return nil, err
		}
		o.Admin = child.Address(port)
	}
	process, err := home.Start(child.Spec{
		Path:  o.File,
		Args:  []string{"run", "--log-format", "text"},
		Env:   append(o.Env[:len(o.Env):len(o.Env)], "WALPOST_ADMIN_LISTEN="+o.Admin),
		Log:   o.Log,
		Death: syscall.SIGKILL,
	})
	if err != nil {
		return nil, err
	}
	return &Relay{Process: process, Admin: o.Admin, Log: o.Log}, nil
}

// Get sends a GET request to the admin server. It returns the body as text.
func (r *Relay) Get(ctx context.Context, path string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Admin+path, nil)
	if err != nil {
		return nil, "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// Metrics returns the values of /metrics, by name and labels as in its text.
func (r *Relay) Metrics(ctx context.Context) (map[string]float64, error) {
	res, text, err := r.Get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics: status %d", res.StatusCode)
	}
	metrics := make(map[string]float64)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		cut := strings.LastIndexByte(line, ' ')
		if cut < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("/metrics: %q: %w", line, err)
		}
		metrics[line[:cut]] = value
	}
	return metrics, nil
}
