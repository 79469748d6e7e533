package pgtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/testenv/need"
)

// value returns the only value of a query.
func value[T any](t *testing.T, dsn, query string) T {
	t.Helper()
	var got T
	err := session(t.Context(), dsn, func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), query).Scan(&got)
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return got
}

// Data survives a fast stop, an immediate one and a crash, on the same port.
func TestRestartKeepsData(t *testing.T) {
	s := Start(t, Options{Settings: map[string]string{"application_name": "it's set", "fsync": "on"}})
	dsn := s.DSN(maintenance)
	if got := value[string](t, dsn, "SHOW application_name"); got != "it's set" {
		t.Errorf("application_name is %q", got)
	}
	if got := value[string](t, dsn, "SHOW fsync"); got != "on" {
		t.Errorf("the caller's fsync is overridden: %q", got)
	}
	(&DB{DSN: dsn}).Exec(t, "CREATE TABLE t (i int)")
	ways := map[string]func() error{
		"fast":      func() error { return s.Stop(t.Context(), Fast) },
		"immediate": func() error { return s.Stop(t.Context(), Immediate) },
		"kill":      func() error { s.Kill(); return nil },
	}
	rows := int64(0)
	for name, end := range ways {
		(&DB{DSN: dsn}).Exec(t, "INSERT INTO t VALUES (1)")
		rows++
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
			_ = conn.Close(t.Context())
			t.Fatalf("%s: the server still answers", name)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := value[int64](t, dsn, "SELECT count(*) FROM t"); got != rows {
			t.Errorf("%s: %d rows of %d are left", name, got, rows)
		}
	}
	for _, line := range []string{"received fast shutdown", "received immediate shutdown", "not properly shut down"} {
		if !strings.Contains(s.Log(), line) {
			t.Errorf("the log lacks %q", line)
		}
	}
}

// A smart stop waits for a client until the context ends.
func TestSmartStopWaitsForClients(t *testing.T) {
	s := Start(t, Options{})
	conn, err := pgx.Connect(t.Context(), s.DSN(maintenance))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Stop(ctx, Smart); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("stop with a client: %v", err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("the server does not stop when its client has gone")
	}
}

// Postgres refuses to run as root, so root's servers run as another user. After Close nothing of a server is left.
func TestServerRunsAsAnotherUserAndLeavesNothing(t *testing.T) {
	s, err := Launch(t.Context(), Options{})
	if err != nil {
		t.Skip(err) // the tests above fail with this error
	}
	info, err := os.Stat(filepath.Join(s.home.Dir(), dataDir))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if root := os.Getuid() == 0; root != (owner != uint32(os.Getuid())) {
		t.Errorf("we are uid %d, the data are uid %d's", os.Getuid(), owner)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if s.Running() {
		t.Error("the server runs after Close")
	}
	if _, err := os.Stat(s.home.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// HBA lines apply to all users except the superuser. With SSL, the server has a certificate signed by its authority.
func TestTLSAndPasswords(t *testing.T) {
	s := Start(t, Options{SSL: true, HBA: []string{"hostssl all app 127.0.0.1/32 scram-sha-256"}})
	if !value[bool](t, s.DSN(maintenance), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") {
		t.Error("the superuser's session is not encrypted")
	}
	(&DB{DSN: s.DSN(maintenance)}).Exec(t, "CREATE ROLE app LOGIN PASSWORD 'right'")
	config, err := pgx.ParseConfig(s.DSN(maintenance))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(s.CA())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	trusted := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	for _, c := range []struct {
		name, password string
		tls            *tls.Config
		code           string
	}{
		{"right", "right", trusted, ""},
		{"wrong password", "wrong", trusted, "28P01"},
		{"no TLS", "right", nil, "28000"},
	} {
		config.User, config.Password, config.TLSConfig = "app", c.password, c.tls
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err == nil {
			_ = conn.Close(t.Context())
		}
		if (err == nil) != (c.code == "") || err != nil && !hasCode(err, c.code) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A standby has the data of the server, replays its changes, and can be promoted.
func TestStandby(t *testing.T) {
	for _, major := range []int{0, OldestMajor} {
		s := Start(t, Options{Major: major})
		db := &DB{DSN: s.DSN(maintenance)}
		db.Exec(t, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (1)")
		standby := s.Standby(t)
		if !value[bool](t, standby.DSN(maintenance), "SELECT pg_is_in_recovery()") || standby.Port() == s.Port() {
			t.Fatal("it is no standby")
		}
		db.Exec(t, "INSERT INTO t VALUES (2)")
		for deadline := time.Now().Add(need.Patience()); value[int](t, standby.DSN(maintenance), "SELECT count(*)::int FROM t") != 2; {
			if time.Now().After(deadline) {
				t.Fatal("it does not follow")
			}
		}
		(&DB{DSN: standby.DSN(maintenance)}).Exec(t, "SELECT pg_promote()", "INSERT INTO t VALUES (3)")
	}
}

func TestWithDatabase(t *testing.T) {
	for _, c := range []struct{ dsn, want string }{
		{"postgres://u:p%40@h:1/old?sslmode=disable", "postgres://u:p%40@h:1/new?sslmode=disable"},
		{"postgresql://h?dbname=old&user=u", "postgresql://h/new?user=u"},
		{"host=h dbname=old", "host=h dbname=old dbname=new"},
	} {
		if got, err := withDatabase(c.dsn, "new"); got != c.want || err != nil {
			t.Errorf("%s with database new: %s, %v", c.dsn, got, err)
		}
		config, err := pgx.ParseConfig(c.want)
		if err != nil || config.Database != "new" {
			t.Errorf("%s leads to %v, %v", c.want, config, err)
		}
	}
}
