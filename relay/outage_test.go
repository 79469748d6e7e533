package relay

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSinkOutageNeverCostsTheSession: a sink that accepts nothing for several times wal_sender_timeout causes neither the end of the
// session nor a duplicate. Meanwhile the reader waits, and the confirmer goes on sending statuses.
func TestSinkOutageNeverCostsTheSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	f.cfg.MaxInFlightBytes = 100 << 10
	separator := "?"
	if strings.Contains(f.DSN, "?") {
		separator = "&"
	}
	f.cfg.ConnString = f.DSN + separator + "wal_sender_timeout=1s"
	f.cfg.Silence = time.Second
	r := f.start()
	before := f.walsender()
	// More than the budget, the relay's buffer and the sockets' take together, so that the server is blocked too.
	const rows = 20_000
	f.Exec(`insert into walpost.outbox (aggregatetype, aggregateid, type, payload) select 'order', g::text, 'placed', to_jsonb(repeat('x', 600)) from generate_series(1, $1) g`, rows)
	r.await("the budget is used up", func() bool { return f.sink.holds() > 90<<10 })
	for outage := time.Now(); time.Since(outage) < 4*time.Second; time.Sleep(100 * time.Millisecond) {
		if pid := f.walsender(); pid != before || r.relay.State().Role != Leader {
			t.Fatalf("after %v of an outage process %d holds the slot, before it was %d; the relay is %s", time.Since(outage), pid, before, r.relay.State().Role)
		}
	}
	f.sink.setAuto(true)
	r.await("all events", func() bool { return f.sink.count() >= rows })
	if pid := f.walsender(); pid != before {
		t.Errorf("process %d holds the slot, before it was %d", pid, before)
	}
	r.stop()
	if got, want := f.sink.ids(), f.IDs(); !slices.Equal(got, want) {
		t.Errorf("published %d events, want the %d of the table, each once", len(got), len(want))
	}
}
