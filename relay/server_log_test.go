package relay

import "testing"

// TestServerIsTold: the server is logged once, and not again for each connection.
func TestServerIsTold(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.start()
	defer r.stop()
	const says = "connected to Postgres"
	for _, part := range []string{says, "server=", "version=", "database=" + f.Conn.Config().Database, "table=walpost.outbox", "slot=" + f.cfg.Slot} {
		if !f.Logs.Has(part) {
			t.Errorf("the log does not say %q", part)
		}
	}
	f.kill()
	r.await("the relay leads again", func() bool { return r.relay.State().Role == Leader && f.active() })
	if n := f.Logs.Count(says); n != 1 {
		t.Errorf("logged %d times", n)
	}
}
