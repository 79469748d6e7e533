package relay

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
)

// TestFirstStartLosesItsLock: a first start whose lock is gone ends, for another relay may be making it now, and begins again.
func TestFirstStartLosesItsLock(t *testing.T) {
	t.Parallel() // mostly waiting
	f := newFixture(t)
	f.sink.setAuto(false)
	f.Insert(3)
	r := f.launch()
	dbtest.Until(t, "the backfill's rows", func() bool { return f.sink.count() == 3 })
	f.Exec(`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`)
	dbtest.Until(t, "the backfill begins again", func() bool { return f.sink.count() == 6 })
	if !f.Logs.Has("the connection that has the lock of the first start broke") {
		t.Error("the log does not say why")
	}
	f.Exec(`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`)
	dbtest.Until(t, "the backfill begins again", func() bool { return f.sink.count() == 9 })
	if n := f.Logs.Count("will be there twice"); n != 1 {
		t.Errorf("warned %d times of rows that come twice", n)
	}
	f.sink.setAuto(true)
	dbtest.Until(t, "the relay leads", func() bool { return r.relay.State().Role == Leader })
	values := gather(t, r.registry)
	for name, want := range map[string]float64{
		"inflight_events": 0, "inflight_bytes": 0, "backfill_rows_total": 9, "backfill_rows_done_total": 3, "retries_total/postgres": 2, "reconnects_total/postgres": 2,
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
	f.Insert(3)
	r := f.launch()
	dbtest.Until(t, "the backfill's rows", func() bool { return f.sink.count() == 3 })
	r.stop()
	cfg, err := pgconn.ParseConfig(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["replication"] = "database"
	ghost, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ghost.Exec(t.Context(), "START_REPLICATION SLOT "+f.cfg.Slot+" LOGICAL 0/0 (proto_version '1', publication_names 'walpost')") // and never reads what comes
	dbtest.Until(t, "the ghost holds the slot", f.active)
	f.sink.setAuto(true)
	r = f.launch()
	dbtest.Until(t, "the relay waits", func() bool {
		s := r.relay.State()
		return s.Role == Waiting && strings.Contains(s.Reason, "of a first start that did not end")
	})
	if n := f.sink.count(); n != 3 {
		t.Errorf("%d rows while the slot was held", n)
	}
	ghost.Conn().Close()
	dbtest.Until(t, "the relay leads", func() bool { return r.relay.State().Role == Leader })
	r.stop()
}

// TestFailedFirstAttempts: what fails before the first connection is tried again, and is no connection made again.
func TestFailedFirstAttempts(t *testing.T) {
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
		t.Errorf("leaving took %v", took)
	}
}

// TestFirstStartWithTooFewConnections: a first start that does not get its connections waits, has made nothing, and speaks of no rows that
// are there twice.
func TestFirstStartWithTooFewConnections(t *testing.T) {
	t.Parallel() // mostly waiting
	f := newFixture(t)
	role := f.reader()
	f.Exec("grant select on walpost.outbox to " + role)
	f.Insert(3)
	for limit := 1; limit < pgerror.SessionsNeeded; limit++ { // whether a walsender counts depends on the version, so no single number will do
		f.Exec(fmt.Sprintf("alter role %s connection limit %d", role, limit))
		r := f.launch()
		dbtest.Until(t, "the relay waits, or leads", func() bool {
			s := r.relay.State()
			return s.Role == Leader || s.Role == Waiting && strings.Contains(s.Reason, "53300")
		})
		led := r.relay.State().Role == Leader
		r.stop()
		if led {
			break
		}
		if f.Slots() != 0 || f.Phase() != "" {
			t.Errorf("limit %d: %d slots, phase %q", limit, f.Slots(), f.Phase())
		}
		if limit == pgerror.SessionsNeeded-1 {
			t.Errorf("limit %d: still waiting", limit)
		}
	}
	if f.Logs.Has("will be there twice") {
		t.Error("it warned of rows that come twice")
	}
}

// TestFirstStartPublishedNothing: of rows that are there twice nothing is said when the start that did not end published none.
func TestFirstStartPublishedNothing(t *testing.T) {
	f := newFixture(t)
	f.Insert(3)
	var once sync.Once
	f.cfg.Logger = slog.New(&hook{f.cfg.Logger.Handler(), func(message string) {
		if message == "created slot" {
			once.Do(func() {
				f.Exec("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'walpost' and datname = current_database()")
			})
		}
	}})
	r := f.start()
	if f.Logs.Has("will be there twice") || !f.Logs.Has("waiting") {
		t.Error("it warned of rows that come twice, or was not interrupted")
	}
	r.stop()
	if n := f.sink.count(); n != 3 {
		t.Errorf("%d events", n)
	}
}

// hook is a log that tells of each message.
type hook struct {
	slog.Handler
	told func(message string)
}

func (h *hook) Handle(ctx context.Context, r slog.Record) error {
	h.told(r.Message)
	return h.Handler.Handle(ctx, r)
}
