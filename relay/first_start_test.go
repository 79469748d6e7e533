package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/pgtest"
	"walpost/internal/reason"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// TestFirstStartLosesItsLock: a first start that loses its lock ends and begins again, because another relay may be making the first start.
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
	if n := f.Logs.Count("it has already published come twice"); n != 1 {
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

// TestFirstStartBehindAGhost: a slot of an unfinished first start may still be dropped while another process holds it, so the relay waits
// for that process.
func TestFirstStartBehindAGhost(t *testing.T) {
	t.Parallel()
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
	ghost.Exec(t.Context(), "START_REPLICATION SLOT "+f.cfg.Slot+" LOGICAL 0/0 (proto_version '1', publication_names 'walpost')") // and never reads
	dbtest.Until(t, "the ghost holds the slot", f.active)
	f.sink.setAuto(true)
	r = f.launch()
	dbtest.Until(t, "the relay waits", func() bool {
		s := r.relay.State()
		return s.Role == Waiting && strings.Contains(s.Reason, "of an unfinished first start")
	})
	if n := f.sink.count(); n != 3 {
		t.Errorf("%d rows while the slot was held", n)
	}
	ghost.Conn().Close()
	dbtest.Until(t, "the relay leads", func() bool { return r.relay.State().Role == Leader })
	r.stop()
}

// TestFirstStartWithTooFewConnections: a first start that does not get its connections waits. It has created nothing, and does not warn of
// rows that are published twice.
func TestFirstStartWithTooFewConnections(t *testing.T) {
	t.Parallel() // mostly waiting
	f := newFixture(t)
	role := f.reader()
	f.Exec("grant select on walpost.outbox to " + role)
	f.Insert(3)
	for limit := 1; limit < pgerror.SessionsNeeded; limit++ { // whether a walsender counts depends on the version, so try each number
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
	if f.Logs.Has("it has already published come twice") {
		t.Error("it warned of rows that come twice")
	}
}

// TestFirstStartPublishedNothing: the relay does not warn of rows that are published twice if the unfinished first start has published
// none.
func TestFirstStartPublishedNothing(t *testing.T) {
	t.Parallel()
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
	if f.Logs.Has("it has already published come twice") || !f.Logs.Has("waiting") {
		t.Error("it warned of rows that come twice, or was not interrupted")
	}
	r.stop()
	if n := f.sink.count(); n != 3 {
		t.Errorf("%d events", n)
	}
}

// hook is a log handler that calls a function with each message.
type hook struct {
	slog.Handler
	called func(message string)
}

func (h *hook) Handle(ctx context.Context, r slog.Record) error {
	h.called(r.Message)
	return h.Handler.Handle(ctx, r)
}

// TestPublicationMade: a first start creates the publication if the role may do that, also for a partitioned table. Otherwise it reports
// the SQL.
func TestPublicationMade(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Exec("drop publication walpost")
	f.Exec("create table public.parts (like walpost.outbox including defaults) partition by list (type)")
	f.Exec("create table public.part partition of public.parts default")
	f.cfg.Table = schema.Table{Schema: "public", Name: "parts"}
	r := f.start()
	f.Exec(`insert into public.parts (aggregatetype, aggregateid, type, payload) values ('order', '1', 'placed', '{}')`)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()

	server := pgtest.Start(t, pgtest.Options{})
	poor := fixtureOn(t, server.DSN("postgres"))
	poor.Exec("drop publication walpost")
	poor.Exec("create role relay login replication")
	if err := grantRelay(t.Context(), poor); err != nil {
		t.Fatal(err)
	}
	poor.cfg.ConnString = poor.As("relay")
	err := poor.launch().wait()
	if err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "create publication walpost for table walpost.outbox") {
		t.Fatalf("ended with %v", err)
	}
	var slots int
	poor.Conn.QueryRow(t.Context(), "select count(*) from pg_replication_slots").Scan(&slots)
	if slots != 0 {
		t.Error("a slot was created although there is no publication")
	}
	// With the publication that the message asks for, the role needs no further rights.
	poor.Exec("create publication walpost for table walpost.outbox with (publish = 'insert')")
	poor.Insert(2)
	r = poor.start()
	poor.Insert(1)
	dbtest.Until(t, "3 events", func() bool { return poor.sink.count() == 3 })
	r.stop()
}

// If the sink refuses the relay, nothing is created: a slot would keep WAL for a relay that cannot run.
func TestRefusedSinkMakesNoSlot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.OpenSink = func(context.Context, Acks) (Sink, error) {
		return nil, pgerror.Permanent(reason.KafkaLogin, errors.New("login refused"), "log in")
	}
	if err := f.launch().wait(); err == nil || !strings.Contains(err.Error(), "login refused") {
		t.Fatalf("ended with %v", err)
	}
	var made int
	err := f.Conn.QueryRow(t.Context(), `select (select count(*) from pg_replication_slots where slot_name = $1)
		+ (select count(*) from walpost.relay_state)`, f.cfg.Slot).Scan(&made)
	if err != nil || made != 0 {
		t.Fatalf("%d slots and states were created, %v", made, err)
	}
}
