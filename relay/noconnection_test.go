package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/pgtest"
)

// A server without TLS refuses it before it refuses the login, which is the reason; where TLS is demanded, its refusal is.
func TestRefusedTLSIsNoReasonWherePlainIsTried(t *testing.T) {
	refused, login := errors.New("tls error: server refused TLS connection"), &pgconn.PgError{Code: "28P01", Message: "no"}
	for sslmode, both := range map[string]bool{"prefer": false, "allow": false, "require": true, "verify-full": true} {
		cfg, err := pgconn.ParseConfig("host=db user=u sslmode=" + sslmode)
		if err != nil {
			t.Fatal(err)
		}
		text := ConnectError(errors.Join(refused, login), cfg).Error()
		if !strings.Contains(text, "28P01") || strings.Contains(text, "refused TLS") != both {
			t.Errorf("sslmode %s: %q", sslmode, text)
		}
		if text := ConnectError(refused, cfg).Error(); !strings.Contains(text, "refused TLS") {
			t.Errorf("sslmode %s: %q hides the only reason", sslmode, text)
		}
	}
}

// What is tried in several ways, with TLS and without or at each address of a name, is one server: the verdict is that on its answer.
func TestVerdictIsOfTheAnswer(t *testing.T) {
	refusedTLS := errors.New("127.0.0.1:5432 (db): tls error: server refused TLS connection")
	handshake := fmt.Errorf("127.0.0.1:5432 (db): tls error: %w", io.EOF)
	nobody := fmt.Errorf("[::1]:5432 (db): dial error: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	pg := func(code string) error {
		return fmt.Errorf("server error: %w", &pgconn.PgError{Code: code, Message: "no"})
	}
	for name, c := range map[string]struct {
		conn  string
		errs  []error
		first bool
		fatal bool
		cure  string
	}{
		"no CONNECT, later":                {"host=db", []error{refusedTLS, pg("42501")}, false, true, "run: GRANT CONNECT ON DATABASE shop TO relay"},
		"no REPLICATION, later":            {"host=db replication=database", []error{refusedTLS, pg("42501")}, false, true, "run: ALTER ROLE relay REPLICATION"},
		"no database, later":               {"host=db", []error{refusedTLS, pg("3D000")}, false, true, "create the database"},
		"password":                         {"host=db", []error{refusedTLS, pg("28P01")}, true, true, "check user and password"},
		"password, later":                  {"host=db", []error{refusedTLS, pg("28P01")}, false, false, "check user and password"},
		"starting":                         {"host=db", []error{refusedTLS, pg("57P03")}, true, false, "the server's log"},
		"handshake broken off":             {"host=db", []error{handshake, pg("3D000")}, false, true, "create the database"},
		"nobody at one of two addresses":   {"host=db", []error{nobody, refusedTLS, nobody, pg("28P01")}, true, true, "check user and password"},
		"nobody at all":                    {"host=db", []error{nobody, nobody}, true, false, "start the server"},
		"TLS demanded":                     {"host=db sslmode=require", []error{refusedTLS}, true, true, "sslmode"},
		"one of two hosts may be starting": {"host=a,b", []error{nobody, refusedTLS, nobody, pg("28P01")}, true, false, "start the server"},
		"channel binding":                  {"host=db channel_binding=require", []error{refusedTLS, errors.New("channel binding check failed: channel binding required")}, true, true, "channel_binding=require: TLS"},
	} {
		cfg, err := pgconn.ParseConfig("user=relay dbname=shop " + c.conn)
		if err != nil {
			t.Fatal(err)
		}
		got := judge(ConnectError(errors.Join(c.errs...), cfg), connecting, c.first, names{})
		if isPermanent(got) != c.fatal || !strings.Contains(got.Error(), c.cure) || strings.Contains(got.Error(), "sslmode") && c.cure != "sslmode" {
			t.Errorf("%s: %q, permanent %v", name, got, isPermanent(got))
		}
	}
}

// The verdict on a server without TLS is the same whatever way sslmode asks for it, where it allows for none.
func TestVerdictOfEverySSLMode(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.exec("create role relay login password 'right'")
	if err := grantRelay(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	base, _, _ := strings.Cut(strings.Replace(f.dsn, "postgres@", "relay:right@", 1), "?")
	for _, query := range []string{"", "?sslmode=disable", "?sslmode=allow", "?sslmode=prefer"} {
		f.cfg.ConnString = base + query
		f.exec("alter role relay noreplication")
		want := []string{"42501", "run: ALTER ROLE relay REPLICATION"}
		f.diagnosed(f.diagnose(), want)
		wantPermanent(t, f.launch().wait(), want)
		f.exec("alter role relay replication")
		f.exec("revoke connect on database postgres from public, relay")
		want = []string{"42501", "run: GRANT CONNECT ON DATABASE postgres TO relay"}
		f.diagnosed(f.diagnose(), want)
		wantPermanent(t, f.launch().wait(), want)
		f.exec("grant connect on database postgres to public, relay")
	}
}

// A wait says what a person can do about it, in the log and to whoever asks; what was well once is waited for, a server closed to writers
// too.
func TestWaitsNameTheCure(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	f := fixtureOn(t, server.DSN("postgres"))
	f.exec("create role relay superuser login")
	f.cfg.ConnString = strings.Replace(f.dsn, "postgres@", "relay@", 1)
	r := f.start()
	for _, c := range []struct{ take, back, cure string }{
		{"alter role relay set default_transaction_read_only = on", "alter role relay reset default_transaction_read_only", "run: ALTER ROLE relay RESET default_transaction_read_only"},
		{"alter role relay nologin", "alter role relay login", "check user and password"},
	} {
		f.exec(c.take)
		f.kill()
		until(t, "the relay waits and says "+c.cure, func() bool {
			s := r.relay.State()
			return s.Role == Waiting && strings.Contains(s.Reason, "; "+c.cure)
		})
		if !f.logs.has(`cure="` + c.cure) {
			t.Errorf("the log does not say %q", c.cure)
		}
		f.exec(c.back)
		until(t, "the relay streams", func() bool { return r.relay.State().Role == Leader })
	}
	f.insert(1)
	until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
}
