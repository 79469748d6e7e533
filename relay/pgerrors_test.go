package relay

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/schema"
)

func TestJudge(t *testing.T) {
	n := names{slot: "shop", publication: "Shop", table: schema.DefaultTable, role: "relay"}
	pg := func(code string) error { return fmt.Errorf("ask: %w", &pgconn.PgError{Code: code, Message: "m"}) }
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	every := []stage{connecting, preparing, creating, starting, streaming}
	for _, c := range []struct {
		err   error
		at    []stage
		first bool   // this process has not been connected yet
		cure  string // part of it; "": time cures it
	}{
		{pg("55006"), every, true, ""}, // held by another relay
		{pg("57P03"), every, true, ""}, // starting, stopping
		{pg("57P01"), every, true, ""},
		{pg("53300"), every, true, ""}, // too many connections, too many walsenders
		{pg("XX000"), every, true, ""}, // what nobody has heard of
		{refused, every, true, ""},
		{io.ErrUnexpectedEOF, every, true, ""},
		{context.DeadlineExceeded, every, true, ""},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, []stage{connecting}, true, ""},

		{pg("28P01"), []stage{connecting}, true, "check user and password"},
		{pg("28P01"), []stage{connecting}, false, ""}, // a password that is being rotated
		{pg("28000"), []stage{connecting}, true, "pg_hba.conf"},
		{pg("28000"), []stage{connecting}, false, ""},
		{pg("3D000"), []stage{connecting}, true, "create the database"},
		{pg("3D000"), []stage{connecting}, false, "create the database"},
		{pg("42501"), []stage{connecting, creating, starting}, false, "ALTER ROLE relay REPLICATION"},
		{pg("42501"), []stage{preparing}, false, "--relay-role relay"},
		{x509.UnknownAuthorityError{}, []stage{connecting}, true, "sslrootcert"},
		{x509.UnknownAuthorityError{}, []stage{connecting}, false, ""},
		{errors.New("server refused TLS connection"), []stage{connecting}, true, "sslmode"},
		{&pgconn.ParseConfigError{}, []stage{connecting}, true, "connection string"},
		{&pgconn.ParseConfigError{}, []stage{connecting}, false, ""},

		{pg("42P01"), []stage{preparing}, false, "walpost schema apply"},
		{pg("42P01"), []stage{streaming}, false, ""},
		{pg("42704"), []stage{starting}, false, "somebody dropped it"},
		{pg("42704"), []stage{streaming}, false, "publication \"Shop\""},
		{pg("42704"), []stage{preparing}, false, ""},
		{pg("55000"), []stage{creating}, false, "wal_level = logical"},
		{pg("55000"), []stage{starting}, false, "slot shop is lost"},
		{pg("55000"), []stage{streaming}, false, ""}, // judged at the next start
		{pg("58P01"), []stage{starting, streaming}, false, "slot shop is lost"},
		{pg("53400"), []stage{creating}, false, "max_replication_slots"},
		{pg("42602"), []stage{creating}, false, "another name"},

		// Several hosts, or with TLS and without: one that time cures is enough to wait.
		{errors.Join(refused, pg("28P01")), []stage{connecting}, true, ""},
		{errors.Join(pg("28P01"), pg("57P03")), []stage{connecting}, true, ""},
		{fmt.Errorf("connect: %w", errors.Join(errors.New("server refused TLS connection"), pg("3D000"))), []stage{connecting}, true, "create the database"},
	} {
		for _, at := range c.at {
			got := judge(c.err, at, c.first, n)
			if !errors.Is(got, c.err) {
				t.Errorf("%v at stage %d: %v does not wrap it", c.err, at, got)
			}
			if isPermanent(got) != (c.cure != "") || !strings.Contains(got.Error(), c.cure) {
				t.Errorf("%v at stage %d, first %v: %q, permanent %v; want the cure %q", c.err, at, c.first, got, isPermanent(got), c.cure)
			}
			if again := judge(got, at, c.first, n); again.Error() != got.Error() {
				t.Errorf("judged twice: %q", again)
			}
		}
	}
	if judge(nil, starting, true, n) != nil {
		t.Error("no error is an error")
	}
}

func TestNotices(t *testing.T) {
	f := fixture{logs: &logs{t: t}}
	n := notices{log: f.logger(), names: names{publication: "walpost"}, streaming: true}
	skipped := &pgconn.Notice{Code: "55000", File: "pgoutput.c", Message: "übersprungen"}
	if err := n.take(skipped); err == nil || !isPermanent(err) || !strings.Contains(err.Error(), "publication walpost") {
		t.Errorf("skipped publication: %v", err)
	}
	for _, harmless := range []*pgconn.Notice{{Code: "55000", File: "slot.c", Message: "standby is away"}, {Code: "01000", File: "pgoutput.c"}} {
		if err := n.take(harmless); err != nil {
			t.Errorf("%+v: %v", harmless, err)
		}
	}
	if !f.logs.has("standby is away") {
		t.Error("a notice is not logged")
	}
}

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
