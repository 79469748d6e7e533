package pgerror

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

	"walpost/internal/reason"
	"walpost/schema"
)

func TestClassify(t *testing.T) {
	n := Names{Slot: "shop", Publication: "Shop", Table: schema.DefaultTable, Role: "relay", database: "Shop"}
	pg := func(code string) error { return fmt.Errorf("ask: %w", &pgconn.PgError{Code: code, Message: "m"}) }
	absent := func(file string) error {
		return fmt.Errorf("ask: %w", &pgconn.PgError{Code: "58P01", Message: "m", File: file})
	}
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	every := []Stage{Connecting, Preparing, Recording, Identifying, Creating, Starting, Streaming}
	for _, c := range []struct {
		err   error
		at    []Stage
		first bool   // this process has not been connected yet
		cure  string // part of the cure; with the prefix "wait: " a wait; "": neither fault nor wait
	}{
		{pg("55006"), every, true, ""},     // held by another relay
		{pg("57P03"), every[1:], true, ""}, // starting, stopping
		{pg("57P01"), every, true, ""},
		{pg("XX000"), every, true, ""}, // an unknown error
		{io.ErrUnexpectedEOF, every, true, ""},
		{context.DeadlineExceeded, every, true, ""},

		{pg("57P03"), []Stage{Connecting}, true, "wait: see the server's log for its progress"},
		{pg("53300"), []Stage{Connecting}, true, "wait: walpost needs up to 4 connections"}, // too many connections, too many walsenders
		{pg("53300"), []Stage{Connecting}, false, "wait: walpost needs up to 4 connections"},
		{pg("55000"), []Stage{Connecting}, true, "wait: run: ALTER DATABASE \"Shop\" ALLOW_CONNECTIONS true"},
		{refused, []Stage{Connecting}, true, "wait: start the server"},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, []Stage{Connecting}, true, "wait: correct the host name"},
		{fmt.Errorf("ValidateConnect failed: %w", pgconn.ErrStandbyConnection), []Stage{Connecting}, true, "wait: promote it"},
		{fmt.Errorf("ValidateConnect failed: %w", pgconn.ErrReadOnlyConnection), []Stage{Connecting}, true, "wait: promote it"},
		{fmt.Errorf("ValidateConnect failed: %w", pgconn.ErrPrimaryConnection), []Stage{Connecting}, true, "remove target_session_attrs"},

		{pg("28P01"), []Stage{Connecting}, true, "check user and password"},
		{pg("28P01"), []Stage{Connecting}, false, "wait: check user and password"}, // a password that is being rotated
		{pg("28000"), []Stage{Connecting}, true, "pg_hba.conf"},
		{pg("28000"), []Stage{Connecting}, false, "wait: check user and password"},
		{pg("3D000"), []Stage{Connecting}, true, "create the database"},
		{pg("3D000"), []Stage{Connecting}, false, "create the database"},
		{pg("42501"), []Stage{Connecting}, true, "run: GRANT CONNECT ON DATABASE \"Shop\" TO relay"},
		{pg("42501"), []Stage{Connecting}, false, "wait: run: GRANT CONNECT ON DATABASE \"Shop\" TO relay"}, // rights may be changing
		{&pgconn.PgError{Code: "42501", Routine: "set_config_with_handle"}, []Stage{Connecting}, false, "wait: remove the parameter"},
		{pg("08P01"), []Stage{Connecting}, true, "wait: this error comes from a pooler"}, // PgBouncer: its server is unreachable, its pool is full, or it does not know a parameter
		{pg("08P01"), []Stage{Connecting}, false, "wait: this error comes from a pooler"},
		{pg("42704"), []Stage{Connecting}, true, "remove the parameter"},
		{pg("42704"), []Stage{Connecting}, false, "wait: remove the parameter"},
		{pg("42601"), []Stage{Identifying}, true, "a pooler drops the startup parameter replication"},
		{pg("42601"), []Stage{Identifying}, false, "a pooler drops the startup parameter replication"},
		{pg("42601"), []Stage{Preparing, Recording}, false, ""},
		{&pgconn.PgError{Code: "42501", Routine: "set_config_with_handle"}, []Stage{Connecting}, true, "remove the parameter"},
		{pg("42501"), []Stage{Creating, Starting}, false, "ALTER ROLE relay REPLICATION"},
		{pg("42501"), []Stage{Preparing}, false, "--relay-role relay"},
		{pg("55P03"), []Stage{Parking}, false, "wait: another session has a lock of walpost.dead_letters"},
		{pg("55P03"), []Stage{Preparing}, false, "wait: another session has a lock of a table of schema walpost or walpost.outbox"},
		{pg("55P03"), []Stage{Connecting, Recording, Identifying, Creating, Starting, Streaming}, false, ""},
		{pg("42501"), []Stage{Recording}, false, "run: GRANT SELECT, INSERT, UPDATE, DELETE ON walpost.relay_state TO relay"},
		{x509.UnknownAuthorityError{}, []Stage{Connecting}, true, "sslrootcert"},
		{x509.UnknownAuthorityError{}, []Stage{Connecting}, false, "wait: make sslmode, sslrootcert"},
		{errors.New("server refused TLS connection"), []Stage{Connecting}, true, "sslmode"},
		{errors.New("channel binding check failed: channel binding required"), []Stage{Connecting}, true, "channel_binding=require needs TLS"},
		{errors.New("failed SASL auth: channel binding required but it is not supported"), []Stage{Connecting}, false, "wait: configure the server for"},
		{errors.New("require_auth check failed: md5 is not allowed"), []Stage{Connecting}, true, "require_auth"},
		{&pgconn.ParseConfigError{}, []Stage{Connecting}, true, "connection string"},
		{&pgconn.ParseConfigError{}, []Stage{Connecting}, false, "wait: correct the connection string"},

		{pg("42P01"), []Stage{Preparing, Recording}, false, "walpost schema apply"},
		{pg("42P01"), []Stage{Streaming}, false, ""},
		{pg("42703"), []Stage{Preparing, Recording}, false, "run: walpost schema check"},
		{pg("42703"), []Stage{Streaming}, false, ""},
		{pg("42704"), []Stage{Starting}, false, "somebody dropped it"},
		{pg("42704"), []Stage{Streaming}, false, "publication \"Shop\""},
		{pg("42704"), []Stage{Preparing, Recording}, false, ""},
		{pg("55000"), []Stage{Creating}, false, "wal_level = logical"},
		{pg("55000"), []Stage{Starting}, false, "slot shop is lost"},
		{pg("55000"), []Stage{Streaming}, false, ""}, // classified at the next start
		{absent("walsender.c"), []Stage{Starting, Streaming}, false, "slot shop is lost"},
		{absent("./build/../src/backend/replication/walsender.c"), []Stage{Starting, Streaming}, false, "slot shop is lost"},
		{absent("dfmgr.c"), []Stage{Creating, Starting, Streaming}, false, "slot shop is intact"},
		{absent("reorderbuffer.c"), []Stage{Starting, Streaming}, false, ""}, // a spilled transaction: the next session writes the file again
		{absent("walsender.c"), []Stage{Preparing}, false, ""},
		{pg("53400"), []Stage{Creating}, false, "max_replication_slots"},
		{pg("42602"), []Stage{Creating}, false, "another name"},

		// Several hosts, or with and without TLS: one error that time can cure is enough to wait.
		{errors.Join(refused, pg("28P01")), []Stage{Connecting}, true, "wait: start the server"},
		{errors.Join(pg("28P01"), pg("57P03")), []Stage{Connecting}, true, "wait: check user and password"},
		{fmt.Errorf("connect: %w", errors.Join(errors.New("server refused TLS connection"), pg("3D000"))), []Stage{Connecting}, true, "create the database"},
	} {
		for _, at := range c.at {
			got := Classify(c.err, at, c.first, n)
			if !errors.Is(got, c.err) {
				t.Errorf("%v at stage %d: %v does not wrap it", c.err, at, got)
			}
			cure, waits := strings.CutPrefix(c.cure, "wait: ")
			if IsPermanent(got) != (cure != "" && !waits) || !strings.Contains(got.Error(), cure) || cure == "" && got.Error() != c.err.Error() {
				t.Errorf("%v at stage %d, first %v: %q, permanent %v; want the cure %q", c.err, at, c.first, got, IsPermanent(got), c.cure)
			}
			if again := Classify(got, at, c.first, n); again.Error() != got.Error() {
				t.Errorf("classified twice: %q", again)
			}
		}
	}
	if Classify(nil, Starting, true, n) != nil {
		t.Error("no error is an error")
	}
}

// TestReason: each error has a code, whether it is classified or only retried. No code depends on a text.
func TestReason(t *testing.T) {
	n := Names{Slot: "shop", Publication: "Shop", Table: schema.DefaultTable, Role: "relay", database: "Shop"}
	pg := func(code string) error { return fmt.Errorf("ask: %w", &pgconn.PgError{Code: code, Message: "m"}) }
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		err  error
		at   Stage
		want reason.Code
	}{
		{pg("28P01"), Connecting, reason.PostgresLogin},
		{pg("28000"), Connecting, reason.PostgresLogin},
		{pg("3D000"), Connecting, reason.DatabaseMissing},
		{pg("42501"), Connecting, reason.PrivilegeMissing},
		{pg("08P01"), Connecting, reason.PoolerBetween},
		{pg("22023"), Connecting, reason.ConnectionParameter},
		{pg("53300"), Connecting, reason.TooManyConnections},
		{pg("55000"), Connecting, reason.DatabaseClosed},
		{pg("57P01"), Connecting, reason.PostgresNotReady},
		{pg("57P03"), Connecting, reason.PostgresNotReady},
		{pg("XX000"), Connecting, reason.PostgresError},
		{refused, Connecting, reason.PostgresUnreachable},
		{&net.DNSError{}, Connecting, reason.PostgresUnreachable},
		{x509.UnknownAuthorityError{}, Connecting, reason.PostgresTLS},
		{&pgconn.ParseConfigError{}, Connecting, reason.ConnectionString},
		{io.ErrUnexpectedEOF, Connecting, reason.PostgresUnreachable},
		{errors.Join(pg("28P01"), refused), Connecting, reason.PostgresUnreachable}, // several hosts: the error that time can cure decides
		{errors.Join(refused, pg("28P01")), Connecting, reason.PostgresUnreachable},
		{pg("42501"), Preparing, reason.PrivilegeMissing},
		{pg("42P01"), Preparing, reason.SchemaOutdated},
		{pg("55000"), Creating, reason.WALLevel},
		{pg("53400"), Creating, reason.NoFreeSlot},
		{pg("42602"), Creating, reason.SlotName},
		{pg("0A000"), Starting, reason.PostgresUnsuitable},
		{pg("55000"), Starting, reason.SlotLost},
		{&pgconn.PgError{Code: "58P01", File: "walsender.c"}, Streaming, reason.SlotLost},
		{pg("58P01"), Streaming, reason.PostgresError}, // such as a spilled transaction
		{pg("42601"), Identifying, reason.PoolerBetween},
		{pg("42704"), Starting, reason.SlotMissing},
		{pg("42704"), Streaming, reason.PublicationGap},
		{pg("55006"), Starting, reason.SlotHeld},
		{pg("53300"), Starting, reason.TooManyConnections},
		{pg("57P01"), Streaming, reason.PostgresNotReady},
		{pg("XX000"), Streaming, reason.PostgresError},
		{io.ErrUnexpectedEOF, Preparing, reason.StreamLost},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, Creating, reason.StreamLost},
		{pgconn.ErrConnClosed, Creating, reason.StreamLost}, // pgconn's error after one that it does not tell
		{errors.New("what nobody has heard of"), Streaming, reason.Unexpected},
	} {
		if got := Reason(fmt.Errorf("around: %w", Classify(c.err, c.at, true, n))); got != c.want {
			t.Errorf("%v at stage %d: %s, want %s", c.err, c.at, got, c.want)
		}
	}
}

// TestServerGone: only errors of a stopping or stopped server count. Otherwise a session would end without need.
func TestServerGone(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&pgconn.PgError{Code: "57P03"}, true},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{io.EOF, true},
		{&pgconn.PgError{Code: "53300"}, false}, // too many connections
		{&pgconn.PgError{Code: "28P01"}, false},
		{context.DeadlineExceeded, false},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, false},
	} {
		if got := ServerGone(fmt.Errorf("connect: %w", c.err)); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
