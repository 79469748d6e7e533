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
	n := names{slot: "shop", publication: "Shop", table: schema.DefaultTable, role: "relay", database: "Shop"}
	pg := func(code string) error { return fmt.Errorf("ask: %w", &pgconn.PgError{Code: code, Message: "m"}) }
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	every := []stage{connecting, preparing, creating, starting, streaming}
	for _, c := range []struct {
		err   error
		at    []stage
		first bool   // this process has not been connected yet
		cure  string // part of it; "": time cures it, and so it does with "wait: " before
	}{
		{pg("55006"), every, true, ""},     // held by another relay
		{pg("57P03"), every[1:], true, ""}, // starting, stopping
		{pg("57P01"), every, true, ""},
		{pg("XX000"), every, true, ""}, // what nobody has heard of
		{io.ErrUnexpectedEOF, every, true, ""},
		{context.DeadlineExceeded, every, true, ""},

		{pg("57P03"), []stage{connecting}, true, "wait: the server's log says how far it is"},
		{pg("53300"), []stage{connecting}, true, "wait: walpost needs up to 5 connections"}, // too many connections, too many walsenders
		{pg("53300"), []stage{connecting}, false, "wait: walpost needs up to 5 connections"},
		{pg("55000"), []stage{connecting}, true, "wait: run: ALTER DATABASE \"Shop\" ALLOW_CONNECTIONS true"},
		{refused, []stage{connecting}, true, "wait: start the server"},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, []stage{connecting}, true, "wait: correct the host's name"},
		{fmt.Errorf("ValidateConnect failed: %w", pgconn.ErrStandbyConnection), []stage{connecting}, true, "wait: promote it"},
		{fmt.Errorf("ValidateConnect failed: %w", pgconn.ErrReadOnlyConnection), []stage{connecting}, true, "wait: promote it"},
		{fmt.Errorf("ValidateConnect failed: %w", pgconn.ErrPrimaryConnection), []stage{connecting}, true, "take target_session_attrs out"},

		{pg("28P01"), []stage{connecting}, true, "check user and password"},
		{pg("28P01"), []stage{connecting}, false, "wait: check user and password"}, // a password that is being rotated
		{pg("28000"), []stage{connecting}, true, "pg_hba.conf"},
		{pg("28000"), []stage{connecting}, false, "wait: check user and password"},
		{pg("3D000"), []stage{connecting}, true, "create the database"},
		{pg("3D000"), []stage{connecting}, false, "create the database"},
		{pg("42501"), []stage{connecting}, false, "run: GRANT CONNECT ON DATABASE \"Shop\" TO relay"},
		{&pgconn.PgError{Code: "42501", Routine: "set_config_with_handle"}, []stage{connecting}, true, "take the parameter out"},
		{pg("42501"), []stage{creating, starting}, false, "ALTER ROLE relay REPLICATION"},
		{pg("42501"), []stage{preparing}, false, "--relay-role relay"},
		{x509.UnknownAuthorityError{}, []stage{connecting}, true, "sslrootcert"},
		{x509.UnknownAuthorityError{}, []stage{connecting}, false, "wait: make sslmode, sslrootcert"},
		{errors.New("server refused TLS connection"), []stage{connecting}, true, "sslmode"},
		{errors.New("channel binding check failed: channel binding required"), []stage{connecting}, true, "channel_binding=require: TLS"},
		{errors.New("failed SASL auth: channel binding required but it is not supported"), []stage{connecting}, false, "wait: let the server do"},
		{errors.New("require_auth check failed: md5 is not allowed"), []stage{connecting}, true, "require_auth"},
		{&pgconn.ParseConfigError{}, []stage{connecting}, true, "connection string"},
		{&pgconn.ParseConfigError{}, []stage{connecting}, false, "wait: correct the connection string"},

		{pg("42P01"), []stage{preparing}, false, "walpost schema apply"},
		{pg("42P01"), []stage{streaming}, false, ""},
		{pg("42703"), []stage{preparing}, false, "run: walpost schema check"},
		{pg("42703"), []stage{streaming}, false, ""},
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
		{errors.Join(refused, pg("28P01")), []stage{connecting}, true, "wait: start the server"},
		{errors.Join(pg("28P01"), pg("57P03")), []stage{connecting}, true, "wait: check user and password"},
		{fmt.Errorf("connect: %w", errors.Join(errors.New("server refused TLS connection"), pg("3D000"))), []stage{connecting}, true, "create the database"},
	} {
		for _, at := range c.at {
			got := judge(c.err, at, c.first, n)
			if !errors.Is(got, c.err) {
				t.Errorf("%v at stage %d: %v does not wrap it", c.err, at, got)
			}
			cure, waits := strings.CutPrefix(c.cure, "wait: ")
			if isPermanent(got) != (cure != "" && !waits) || !strings.Contains(got.Error(), cure) || cure == "" && got != c.err {
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
