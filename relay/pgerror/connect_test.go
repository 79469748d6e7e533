package pgerror

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// A server without TLS refuses TLS before it refuses the login. If the client also tries without TLS, the login is the reason; if the
// client requires TLS, the refusal of TLS is.
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

// One server may be tried several times, with and without TLS, or at each address of its name. Then the server's own error decides.
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
		"no CONNECT":                       {"host=db", []error{refusedTLS, pg("42501")}, true, true, "run: GRANT CONNECT ON DATABASE shop TO relay"},
		"no CONNECT, later":                {"host=db", []error{refusedTLS, pg("42501")}, false, false, "run: GRANT CONNECT ON DATABASE shop TO relay"},
		"no REPLICATION":                   {"host=db replication=database", []error{refusedTLS, pg("42501")}, true, true, "run: ALTER ROLE relay REPLICATION"},
		"no REPLICATION, later":            {"host=db replication=database", []error{refusedTLS, pg("42501")}, false, false, "run: ALTER ROLE relay REPLICATION"},
		"no database, later":               {"host=db", []error{refusedTLS, pg("3D000")}, false, true, "create the database"},
		"password":                         {"host=db", []error{refusedTLS, pg("28P01")}, true, true, "check user and password"},
		"no password":                      {"host=db sslmode=disable", []error{pg("28P01")}, true, true, "no password is set"},
		"password, later":                  {"host=db", []error{refusedTLS, pg("28P01")}, false, false, "check user and password"},
		"starting":                         {"host=db", []error{refusedTLS, pg("57P03")}, true, false, "the server's log"},
		"handshake broken off":             {"host=db", []error{handshake, pg("3D000")}, false, true, "create the database"},
		"nobody at one of two addresses":   {"host=db", []error{nobody, refusedTLS, nobody, pg("28P01")}, true, true, "check user and password"},
		"nobody at all":                    {"host=db", []error{nobody, nobody}, true, false, "start the server"},
		"TLS demanded":                     {"host=db sslmode=require", []error{refusedTLS}, true, true, "sslmode"},
		"one of two hosts may be starting": {"host=a,b", []error{nobody, refusedTLS, nobody, pg("28P01")}, true, false, "start the server"},
		"channel binding":                  {"host=db channel_binding=require", []error{refusedTLS, errors.New("channel binding check failed: channel binding required")}, true, true, "channel_binding=require needs TLS"},
	} {
		password := "password=x "
		if name == "no password" {
			password = ""
		}
		cfg, err := pgconn.ParseConfig("user=relay dbname=shop " + password + c.conn)
		if err != nil {
			t.Fatal(err)
		}
		got := Classify(ConnectError(errors.Join(c.errs...), cfg), Connecting, c.first, Names{})
		if IsPermanent(got) != c.fatal || !strings.Contains(got.Error(), c.cure) || strings.Contains(got.Error(), "sslmode") && c.cure != "sslmode" {
			t.Errorf("%s: %q, permanent %v", name, got, IsPermanent(got))
		}
	}
}
