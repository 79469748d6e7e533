package relay

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestFirstStartLosesItsLock: a first start whose lock is gone ends, for another relay may be making it now, and begins again.
func TestFirstStartLosesItsLock(t *testing.T) {
	t.Parallel() // mostly waiting
	f := newFixture(t)
	f.sink.setAuto(false)
	f.insert(3)
	r := f.launch()
	until(t, "the backfill's rows", func() bool { return f.sink.count() == 3 })
	f.exec(`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`)
	until(t, "the backfill begins again", func() bool { return f.sink.count() == 6 })
	if !f.logs.has("the connection that has the lock of the first start broke") {
		t.Error("the log does not say why")
	}
	f.sink.setAuto(true)
	until(t, "the relay leads", func() bool { return r.relay.State().Role == Leader })
	values := gather(t, r.registry)
	for name, want := range map[string]float64{
		"inflight_events": 0, "inflight_bytes": 0, "backfill_rows_total": 6, "backfill_rows_done_total": 3, "retries_total/postgres": 1, "reconnects_total/postgres": 1,
	} {
		if got := values["walpost_"+name]; got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	r.stop()
}

// TestFirstStartBehindAGhost: a slot that is held while the backfill is not done may come to nothing, so nothing is built on it.
func TestFirstStartBehindAGhost(t *testing.T) {
	f := newFixture(t)
	f.sink.setAuto(false)
	f.insert(3)
	r := f.launch()
	until(t, "the backfill's rows", func() bool { return f.sink.count() == 3 })
	r.stop()
	cfg, err := pgconn.ParseConfig(f.dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["replication"] = "database"
	ghost, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ghost.Exec(t.Context(), startCommand(f.cfg.Slot, f.cfg.Publication, false)) // and never reads what comes
	until(t, "the ghost holds the slot", f.active)
	f.sink.setAuto(true)
	r = f.launch()
	until(t, "the relay waits", func() bool {
		s := r.relay.State()
		return s.Role == Waiting && strings.Contains(s.Reason, "of a first start that did not end")
	})
	if n := f.sink.count(); n != 3 {
		t.Errorf("%d rows while the slot was held", n)
	}
	ghost.Conn().Close()
	until(t, "the relay leads", func() bool { return r.relay.State().Role == Leader })
	r.stop()
}

// TestFailedFirstAttempts: what fails before the first connection is tried again, and is no connection made again.
func TestFailedFirstAttempts(t *testing.T) {
	f := newFixture(t)
	f.cfg.ConnString = "postgres://127.0.0.1:1/shop?sslmode=disable"
	r := f.launch()
	until(t, "attempts", func() bool { return gather(t, r.registry)["walpost_retries_total/postgres"] >= 3 })
	if n := gather(t, r.registry)["walpost_reconnects_total/postgres"]; n != 0 {
		t.Errorf("%v reconnects of a relay that was never connected", n)
	}
	begun := time.Now()
	r.stop()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("leaving took %v", took)
	}
}
