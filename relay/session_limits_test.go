package relay

import (
	"slices"
	"testing"
	"time"

	"walpost/internal/pgtest"
)

// TestTransactionTimeoutOfTheRole: a role's transaction_timeout, since 17, does not apply to the stream. A walsender sends each transaction
// inside a transaction of its own, which takes as long as Kafka does.
func TestTransactionTimeoutOfTheRole(t *testing.T) {
	t.Parallel() // mostly waiting
	f := fixtureOn(t, pgtest.NewMajor(t, 18).DSN)
	role := f.Role("limited", "login superuser")
	f.Exec("alter role " + role + " set transaction_timeout = '1s'")
	f.cfg.ConnString = f.As(role)
	f.cfg.MaxInFlightBytes = 1 << 20
	f.sink.setAuto(false)
	r := f.start()
	// More than the sockets and the reader's buffer hold: otherwise the server would send everything at once.
	f.Exec(`insert into walpost.outbox (aggregatetype, aggregateid, type, payload)
		select 'order', '1', 'placed', to_jsonb(repeat(md5(g::text), 16000)) from generate_series(1, 64) g`)
	walsender := f.walsender()
	r.await("the walsender waits for the relay", func() (waits bool) {
		const query = "select coalesce(wait_event = 'WalSenderWriteData', false) from pg_stat_activity where pid = $1"
		return f.sink.count() == 2 && f.Conn.QueryRow(t.Context(), query, walsender).Scan(&waits) == nil && waits
	})
	time.Sleep(1500 * time.Millisecond) // longer than the limit: a walsender does not show the age of its transaction, and an error would arrive only after everything that it has sent
	f.sink.setAuto(true)
	r.await("64 events", func() bool { return f.sink.count() >= 64 })
	r.stop()
	if got, want := f.sink.ids(), f.IDs(); !slices.Equal(got, want) {
		t.Errorf("published %d events, want each of %d once and in order", len(got), len(want))
	}
	if f.Logs.Has("25P04") {
		t.Error("the server ended the walsender")
	}
	if n := gather(t, r.registry)["walpost_reconnects_total/postgres"]; n != 0 {
		t.Errorf("%v reconnects", n)
	}
}
