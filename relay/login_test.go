package relay

import (
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/relay/pgerror"
)

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

// TestLogin: a refused login ends a relay that has never been connected; later it is waited for, as is anything else that time cures.
func TestLogin(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.exec("create role relay superuser login password 'old'")
	login := func(password string) string { return strings.Replace(f.dsn, "postgres@", "relay:"+password+"@", 1) }
	f.cfg.ConnString = login("wrong")
	err := f.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "lets the role relay in") || strings.Contains(err.Error(), "wrong@") {
		t.Fatalf("ended with %v", err)
	}
	f.cfg.ConnString = login("old")
	r := f.start()
	f.exec("alter role relay password 'new'")
	f.kill()
	until(t, "the relay waits for its password", func() bool {
		s := r.relay.State()
		return s.Role == Waiting && strings.Contains(s.Reason, "28P01")
	})
	f.exec("alter role relay password 'old'")
	f.insert(1)
	until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
}
