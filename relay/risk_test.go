package relay

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"walpost/internal/diagnosis"
	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
)

// everybody makes a server accept connections from this machine to any of its addresses.
func everybody(settings map[string]string) pgtest.Options {
	settings["listen_addresses"] = "*"
	return pgtest.Options{Settings: settings, SSL: true, HBA: []string{"host all all all trust", "host replication all all trust"}}
}

// beyondLoopback returns the connection string with an address of this machine that is not loopback. For both sides that is like another
// machine.
func beyondLoopback(t *testing.T, dsn, sslmode string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			u.Host = net.JoinHostPort(ip.IP.String(), u.Port())
			u.RawQuery = "sslmode=" + sslmode
			return u.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}

// TestUnencryptedConnectionIsTold: the log of each start and doctor warn of an unencrypted connection that leaves this machine.
func TestUnencryptedConnectionIsTold(t *testing.T) {
	t.Parallel()
	const says = "is not encrypted: anyone on the network path can read"
	f := fixtureOn(t, pgtest.Start(t, everybody(map[string]string{"max_slot_wal_keep_size": "10GB"})).DSN("postgres"))
	for _, c := range []struct {
		sslmode string
		told    bool
	}{{"disable", true}, {"require", false}, {"prefer", false}} {
		f.cfg.ConnString = beyondLoopback(t, f.DSN, c.sslmode)
		before := f.Logs.Count(says)
		r := f.start()
		f.kill() // a session that is unencrypted, too, is not logged again
		r.await("the relay leads again", func() bool { return r.relay.State().Role == Leader && f.active() })
		r.stop()
		if got := f.Logs.Count(says) - before; got != map[bool]int{true: 1}[c.told] {
			t.Errorf("sslmode=%s: told %d times", c.sslmode, got)
		}
		warned, text := dbtest.FindingsOf(f.diagnose(), diagnosis.Warning)
		if got := strings.Join(warned, " "); (got == "connection") != c.told || got != "" && (!strings.Contains(text, says) || !strings.Contains(text, "sslmode=verify-full")) {
			t.Errorf("sslmode=%s: doctor warns of %q\n%s", c.sslmode, got, text)
		}
	}
	before := f.Logs.Count(says)
	f.cfg.ConnString = f.DSN
	f.start().stop()
	if f.Logs.Count(says) != before {
		t.Error("told of a connection that does not leave this machine")
	}
}

// TestUnlimitedSlotIsTold: each start warns, with the SQL that cures it, if the WAL of slots is not limited.
func TestUnlimitedSlotIsTold(t *testing.T) {
	t.Parallel()
	const says = "max_slot_wal_keep_size is unlimited"
	f := newFixture(t)
	for start := 1; start <= 2; start++ {
		f.start().stop()
		if got := f.Logs.Count(says); got != start {
			t.Errorf("told %d times in %d starts", got, start)
		}
	}
	if !f.Logs.Has("ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'") {
		t.Error("no SQL that cures it")
	}
	limited := fixtureOn(t, pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "10GB"}}).DSN("postgres"))
	limited.start().stop()
	if limited.Logs.Has(says) {
		t.Error("told where there is a limit")
	}
}
