package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"walpost/cmd/walpost/internal/config"
	"walpost/cmd/walpost/internal/report"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/child"
	"walpost/relay"
)

// running starts the program with a relay in the given state, and returns the address of its admin server.
func running(t *testing.T, state relay.State) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	fake := newFake(func(ctx context.Context) error { <-ctx.Done(); return nil })
	fake.state = state
	p := start(ctx, fake.instead, "run")
	t.Cleanup(func() {
		cancel()
		if code := p.exit(t); code != 0 {
			t.Errorf("exit %d", code)
		}
	})
	address = strings.TrimPrefix(p.address(t), "http://")
	fake.awaitRunning(t, p)
	return address
}

func TestStatusOfARunningRelay(t *testing.T) {
	clean(t)
	t.Setenv("WALPOST_ADMIN_LISTEN", "127.0.0.1:0")
	t.Setenv("WALPOST_POSTGRES_URL", "postgres://127.0.0.1:1/none") // nothing connects to it
	address := running(t, relay.State{Role: relay.Leader})
	t.Setenv("WALPOST_ADMIN_LISTEN", address)
	code, stdout, stderr := command(t, "status")
	if code != 0 || !strings.HasPrefix(stdout, "relay        leader, walpost ") || !strings.Contains(stdout, "\nslot         walpost: not checked yet\n") || stderr != "" {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = command(t, "status", "--json")
	var r report.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 || r.Role != "leader" || !r.Ready || strings.Count(stdout, "\n") != 1 {
		t.Errorf("exit %d, %v\n%s%s", code, err, stdout, stderr)
	}
	// A relay of another slot may be well, but it is not the one that is asked for, unless by its address.
	t.Setenv("WALPOST_POSTGRES_SLOT", "other")
	if code, stdout, stderr = command(t, "status"); code != 1 || strings.Contains(stdout, "leader") || !strings.Contains(stderr, "uses slot walpost, and this configuration names slot other") {
		t.Errorf("of another slot: exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr = command(t, "status", "--address", address); code != 0 || !strings.HasPrefix(stdout, "relay        leader") {
		t.Errorf("of another slot, by its address: exit %d\n%s%s", code, stdout, stderr)
	}
	t.Setenv("WALPOST_POSTGRES_SLOT", "walpost")
	t.Setenv("WALPOST_ADMIN_LISTEN", "127.0.0.1:0")
	waiting := running(t, relay.State{Role: relay.Waiting, Reason: "Postgres is away"})
	if code, stdout, _ = command(t, "status", "--address", waiting); code != 3 || !strings.Contains(stdout, "waiting, not ready") || !strings.Contains(stdout, "reason       Postgres is away") {
		t.Errorf("waiting: exit %d\n%s", code, stdout)
	}
}

// What is needed to see the state, and the errors without it.
func TestStatusWantsALogin(t *testing.T) {
	clean(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("canary"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"web.yaml": "basic_auth_users:\n  me: " + string(hash) + "\n", "login": "me:canary\n", "nologin": "canary\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("WALPOST_POSTGRES_URL", "postgres://127.0.0.1:1/none")
	t.Setenv("WALPOST_ADMIN_LISTEN", "127.0.0.1:0")
	t.Setenv("WALPOST_ADMIN_WEB_CONFIG", "web.yaml")
	address := running(t, relay.State{Role: relay.Leader})
	t.Setenv("WALPOST_ADMIN_WEB_CONFIG", "")
	t.Setenv("WALPOST_ADMIN_LISTEN", "0.0.0.0:0")
	hidden := running(t, relay.State{Role: relay.Leader})
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--address", address}, 1, "it asks for a login: put user:password into a file and name that with --login-file"},
		{[]string{"--address", address, "--login-file", "login"}, 0, "relay        leader"},
		{[]string{"--address", address, "--login-file", "nologin"}, 2, "--login-file nologin does not hold user:password"},
		{[]string{"--address", address, "--login-file", "nofile"}, 2, "--login-file: open nofile: no such file"},
		{[]string{"--address", "relay.example:8488", "--login-file", "login"}, 2, "--address: the password would go to relay.example:8488 unencrypted; set up TLS in its admin.web_config and use https://relay.example:8488"},
		{[]string{"--address", "http://me:canary@" + address}, 2, "--address must have the form"},
		{[]string{"--address", hidden}, 0, "relay        leader\n"},
		{[]string{"--address", "127.0.0.1:1"}, 1, "no relay answers at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; and the slot's state cannot be read from Postgres: connect to 127.0.0.1 port 1"},
	} {
		code, stdout, stderr := command(t, append([]string{"status"}, test.args...)...)
		if code != test.code || !strings.Contains(stdout+stderr, test.says) || strings.Contains(stdout+stderr, "canary") {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", test.args, code, test.code, test.says, stdout, stderr)
		}
	}
}

// A malformed address is an error of the command line. An empty address is not.
func TestAddressToAsk(t *testing.T) {
	for _, address := range []string{"ftp://relay:1", "http://relay:1/metrics", "http://"} {
		var exit *exitError
		if _, err := newAdminClient(config.Default(), adminFlags{address: address}); !errors.As(err, &exit) || exit.code != exitUsage {
			t.Errorf("%s: %v", address, err)
		}
	}
	cfg := config.Default()
	cfg.Admin.Listen = ""
	if c, err := newAdminClient(cfg, adminFlags{}); c != nil || err != nil {
		t.Errorf("nowhere: %v, %v", c, err)
	}
}

// If no relay answers, status prints what Postgres knows.
func TestStatusWithoutARelay(t *testing.T) {
	db := pgtest.New(t)
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	t.Setenv("WALPOST_POSTGRES_SLOT", db.Name)
	t.Setenv("WALPOST_ADMIN_LISTEN", "")
	expect := func(code int, parts ...string) {
		t.Helper()
		got, stdout, stderr := command(t, "status")
		if got != code {
			t.Errorf("exit %d, want %d", got, code)
		}
		for _, part := range parts {
			if !strings.Contains(stdout+stderr, part) {
				t.Errorf("no %q in\n%s%s", part, stdout, stderr)
			}
		}
	}
	expect(1, "walpost schema apply")
	if code, _, stderr := command(t, "schema", "apply"); code != 0 {
		t.Fatal(stderr)
	}
	expect(3, "admin.listen is empty", "slot         "+db.Name+" does not exist")
	db.Exec(t, "select pg_create_logical_replication_slot('"+db.Name+"', 'pgoutput')",
		"insert into walpost.relay_state (slot, phase, confirmed_lsn, confirmed_commit_time) values ('"+db.Name+"', 'streaming', '0/1', now() - interval '1 hour')")
	t.Setenv("WALPOST_ADMIN_LISTEN", "127.0.0.1:1")
	db.Exec(t, `insert into walpost.dead_letters (slot, position, topic, key, reason, parked_at, state) select '`+db.Name+`', i::text, 't', 'k', 'x', now() - interval '2 hours', case i when 1 then 'released' else 'head' end
		from generate_series(1, 3) i`)
	expect(3, "relay        no relay answers", "no relay answers at 127.0.0.1:1", "parked       2 events of 1 key, the oldest for 2 h 0 min: walpost dead-letter list", "nobody streams from it, wal_status reserved", "recorded     streaming, confirmed up to 0/1, which was committed 1 h 0 min ago")
	locked := db.Connect(t)
	if _, err := locked.Exec(t.Context(), "begin; lock table walpost.dead_letters"); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := command(t, "status", "--json")
	var r report.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 3 || r.DeadLetters != nil || r.Role != "none" || r.Slot.WALStatus != "reserved" || r.Slot.SafeBytes != nil || r.LagSeconds != nil || r.BlockedTopics == nil {
		t.Errorf("exit %d, %v\n%s", code, err, stdout)
	}
}

// silentAddress returns an address on which nothing listens.
func silentAddress(t *testing.T) string {
	t.Helper()
	port, err := child.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return child.Address(port)
}

// If the output is not a terminal, --watch prints one line each time, even while nothing answers, and ends on a signal.
func TestWatch(t *testing.T) {
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", "postgres://127.0.0.1:1/none")
	address := silentAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	p := start(ctx, nil, "status", "--watch", "--address", address)
	said := func(what string) {
		t.Helper()
		eventually(t, func() error {
			if text := p.stdout.String(); !strings.Contains(text, what) {
				return fmt.Errorf("no %q in\n%s%s", what, text, &p.stderr)
			}
			return nil
		})
	}
	said(" cannot tell: no relay answers at " + address)
	t.Setenv("WALPOST_ADMIN_LISTEN", address)
	running(t, relay.State{Role: relay.Leader})
	said(" | leader, walpost ")
	cancel()
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if text := p.stdout.String(); strings.Contains(text, "\x1b") {
		t.Errorf("signs for a terminal: %q", text)
	}
}

// With --json, stdout has one object each time and nothing else, even while the state is unknown.
func TestWatchJSON(t *testing.T) {
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", "postgres://127.0.0.1:1/none")
	address := silentAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	p := start(ctx, nil, "status", "--watch", "--json", "--address", address)
	looks := func(role, reason string) {
		t.Helper()
		eventually(t, func() error {
			text := p.stdout.String()
			for line := range strings.Lines(text) {
				var r report.Report
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatalf("%v in the line %s", err, line)
				}
				if r.Role == role && strings.Contains(r.Reason, reason) && r.Slot.Name == "walpost" {
					return nil
				}
			}
			return fmt.Errorf("no %s in\n%s%s", role, text, &p.stderr)
		})
	}
	looks("none", "no relay answers at "+address)
	t.Setenv("WALPOST_ADMIN_LISTEN", address)
	running(t, relay.State{Role: relay.Leader})
	looks("leader", "")
	cancel()
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}
