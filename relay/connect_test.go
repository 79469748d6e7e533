package relay

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
)

// A server without TLS is classified in the same way for each sslmode that requires TLS.
func TestVerdictOfEverySSLMode(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.Exec("create role relay login password 'right'")
	if err := grantRelay(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	base, _, _ := strings.Cut(f.As("relay:right"), "?")
	for _, query := range []string{"", "?sslmode=disable", "?sslmode=allow", "?sslmode=prefer"} {
		f.cfg.ConnString = base + query
		f.Exec("alter role relay noreplication")
		want := []string{"42501", "run: ALTER ROLE relay REPLICATION"}
		dbtest.WantFailed(t, f.diagnose(), want...)
		dbtest.WantPermanent(t, f.launch().wait(), want...)
		f.Exec("alter role relay replication")
		f.Exec("revoke connect on database postgres from public, relay")
		want = []string{"42501", "run: GRANT CONNECT ON DATABASE postgres TO relay"}
		dbtest.WantFailed(t, f.diagnose(), want...)
		dbtest.WantPermanent(t, f.launch().wait(), want...)
		f.Exec("grant connect on database postgres to public, relay")
	}
}

// A wait has a cure, in the log and in the state. What worked before is waited for.
func TestWaitsNameTheCure(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	f := fixtureOn(t, server.DSN("postgres"))
	f.Exec("create role relay login replication")
	if err := grantRelay(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	f.cfg.ConnString = f.As("relay")
	r := f.start()
	for _, c := range []struct{ take, back, cure string }{
		{"alter role relay connection limit 0", "alter role relay connection limit -1", "walpost needs up to 4 connections"},
		{"revoke connect on database postgres from public, relay", "grant connect on database postgres to public, relay", "run: GRANT CONNECT ON DATABASE postgres TO relay"},
		{"alter role relay nologin", "alter role relay login", "check user and password"},
		{"alter role relay noreplication", "alter role relay replication", "run: ALTER ROLE relay REPLICATION"},
	} {
		f.Exec(c.take)
		f.kill()
		dbtest.Until(t, "the relay waits and says "+c.cure, func() bool {
			s := r.relay.State()
			return s.Role == Waiting && strings.Contains(s.Reason, "; "+c.cure)
		})
		dbtest.Until(t, "the log says "+c.cure, func() bool { return f.Logs.Has(`cure="` + c.cure) }) // a moment after the state
		f.Exec(c.back)
		dbtest.Until(t, "the relay streams", func() bool { return r.relay.State().Role == Leader })
	}
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
}

// A pooler that drops the startup parameter replication turns a replication connection into an ordinary one. There IDENTIFY_SYSTEM is a
// syntax error. No retry helps, and the relay has created nothing before.
func TestPoolerThatDropsReplication(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	u, err := url.Parse(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = dropsReplication(t, u.Host)
	f.cfg.ConnString = u.String()
	words := []string{"42601", "a pooler drops the startup parameter replication", "set postgres.url to the server itself"}
	dbtest.WantFailed(t, f.diagnose(), words...)
	dbtest.WantPermanent(t, f.launch().wait(), words...)
	if f.Slots() != 0 || f.Phase() != "" {
		t.Errorf("%d slots, phase %q", f.Slots(), f.Phase())
	}
}

// dropsReplication starts a pooler that drops the parameter, in front of a server, and returns its address.
func dropsReplication(t *testing.T, server string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var links sync.WaitGroup
	t.Cleanup(func() { listener.Close(); links.Wait() })
	carry := func(client net.Conn) {
		defer client.Close()
		said, err := pgproto3.NewBackend(client, client).ReceiveStartupMessage()
		behind, dialed := net.Dial("tcp", server)
		if err != nil || dialed != nil {
			return
		}
		defer behind.Close()
		var first []byte
		switch m := said.(type) {
		case *pgproto3.StartupMessage:
			delete(m.Parameters, "replication")
			first, err = m.Encode(nil)
		case *pgproto3.CancelRequest:
			first, err = m.Encode(nil)
		}
		if _, sent := behind.Write(first); err != nil || sent != nil {
			return
		}
		go func() { io.Copy(behind, client); behind.Close() }()
		io.Copy(client, behind)
	}
	links.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			links.Go(func() { carry(client) })
		}
	})
	return listener.Addr().String()
}

// If the library of a plugin is missing, the server reports the same SQLSTATE as for a removed WAL segment. The name of the source file
// tells them apart.
func TestAbsentLibraryIsNoLostSlot(t *testing.T) {
	t.Parallel()
	for _, major := range []int{0, 14, 18} {
		f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
		_, err := f.Conn.Exec(t.Context(), "select pg_create_logical_replication_slot($1, 'pgoutput_that_is_not_installed')", f.Slot)
		dbtest.WantPermanent(t, pgerror.Classify(err, pgerror.Starting, false, pgerror.Names{Slot: f.Slot}), "58P01", "does not find the library", "is intact, do not drop it")
	}
}

// TestLogin: a refused login ends a relay that has never connected. Later the relay waits, as for any error that time can cure.
func TestLogin(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.Exec("create role relay superuser login password 'old'")
	login := func(password string) string { return f.As("relay:" + password) }
	f.cfg.ConnString = login("wrong")
	err := f.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "admits the role relay") || strings.Contains(err.Error(), "wrong@") {
		t.Fatalf("ended with %v", err)
	}
	f.cfg.ConnString = login("old")
	r := f.start()
	f.Exec("alter role relay password 'new'")
	f.kill()
	dbtest.Until(t, "the relay waits for its password", func() bool {
		s := r.relay.State()
		return s.Role == Waiting && strings.Contains(s.Reason, "28P01")
	})
	f.Exec("alter role relay password 'old'")
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
}

// TestUnreachable: the relay waits for a server that it cannot reach, and stops at once when it is told to.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.ConnString = "postgres://postgres@127.0.0.1:1/postgres"
	r := f.launch()
	dbtest.Until(t, "the relay waits", func() bool { return r.relay.State().Role == Waiting })
	if reason := r.relay.State().Reason; !strings.Contains(reason, "127.0.0.1 port 1") {
		t.Errorf("waiting for %q", reason)
	}
	r.stop()
}

// TestFailedFirstAttempts: failures before the first connection are retried, and do not count as reconnects.
func TestFailedFirstAttempts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.ConnString = "postgres://127.0.0.1:1/shop?sslmode=disable"
	r := f.launch()
	dbtest.Until(t, "attempts", func() bool { return gather(t, r.registry)["walpost_retries_total/postgres"] >= 3 })
	if n := gather(t, r.registry)["walpost_reconnects_total/postgres"]; n != 0 {
		t.Errorf("%v reconnects of a relay that was never connected", n)
	}
	begun := time.Now()
	r.stop()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
}
