package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/pgtest"
	"walpost/internal/testenv/long"
	"walpost/relay/internal/dbtest"
	"walpost/relay/parking"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// TestWatchStops: when rows no longer reach the slot, the relay stops with the reason and the cure, after everything that it has read is
// acked and confirmed.
func TestWatchStops(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ddl  []string
		want []string
	}{
		"taken out of the publication": {
			[]string{"alter publication walpost drop table walpost.outbox"},
			[]string{"publication walpost does not contain table walpost.outbox", "ALTER PUBLICATION walpost ADD TABLE walpost.outbox", "only in the table", "DELETE FROM walpost.outbox WHERE created_at >= '20"},
		},
		"publication dropped": {
			[]string{"drop publication walpost"},
			[]string{"publication walpost does not exist, but slot", "create publication walpost", "only in the table"},
		},
		"row filter": {
			[]string{"alter publication walpost set table walpost.outbox where (aggregatetype <> 'secret')"},
			[]string{"row filter on table walpost.outbox", "ALTER PUBLICATION walpost ADD TABLE walpost.outbox; COMMIT", "only in the table"},
		},
		"no inserts": {
			[]string{"alter publication walpost set (publish = 'delete')"},
			[]string{"does not publish inserts", "SET (publish = 'insert')", "only in the table"},
		},
		"dropped": {
			[]string{"drop table walpost.outbox cascade"},
			[]string{"table walpost.outbox does not exist"},
		},
		"renamed": {
			[]string{"alter table walpost.outbox rename to events"},
			[]string{"table walpost.outbox was renamed to walpost.events", "set outbox.table: walpost.events", "ALTER TABLE"},
		},
		"moved": {
			[]string{"create schema app", "alter table walpost.outbox set schema app"},
			[]string{"table walpost.outbox was renamed to app.outbox"},
		},
		"created anew and not published": {
			[]string{"begin", "alter table walpost.outbox rename to old", "create table walpost.outbox (like walpost.old including defaults)", "commit"},
			[]string{"publication walpost does not contain table walpost.outbox", "ADD TABLE"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.sink.setAuto(false)
			r := f.start()
			f.Insert(1)
			dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
			for _, sql := range c.ddl {
				f.Exec(sql)
			}
			r.look()
			dbtest.Until(t, "the relay is about to stop", func() bool { return f.Logs.Has("walpost stops when") })
			if got := f.Confirmed(); got > f.commitOf(0) {
				t.Errorf("the slot stands at %v before the ack", got)
			}
			select {
			case err := <-r.ended:
				t.Fatalf("ended before the ack: %v", err)
			default:
			}
			f.sink.ack(1)
			err := r.wait()
			dbtest.WantPermanent(t, err, c.want...)
			if got := f.Confirmed(); got <= f.commitOf(0) {
				t.Errorf("the slot stands at %v, the event at %v", got, f.commitOf(0))
			}
		})
	}
}

// TestWatchLeaves: a relay that the watcher stops, and that waits for acks which do not come, also obeys a stop by its caller. It still
// returns the watcher's reason.
func TestWatchLeaves(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	f.cfg.ShutdownTimeout = 200 * time.Millisecond
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	f.Exec("alter publication walpost drop table walpost.outbox")
	r.look()
	dbtest.Until(t, "the relay is about to stop", func() bool { return f.Logs.Has("walpost stops when") })
	r.cancel()
	if err := r.wait(); err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "does not contain table") {
		t.Fatalf("ended with %v", err)
	}
	if got := f.Confirmed(); got > f.commitOf(0) {
		t.Errorf("the slot stands at %v, the unacked event at %v", got, f.commitOf(0))
	}
}

// TestWatchPartitioned: the watcher checks a partitioned table as such.
func TestWatchPartitioned(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Exec("create table public.parts (like walpost.outbox including defaults) partition by list (type)")
	f.Exec("create table public.part partition of public.parts default")
	f.Exec("create publication parts for table public.parts with (publish = 'insert', publish_via_partition_root = true)")
	f.cfg.Table, f.cfg.Publication = schema.Table{Schema: "public", Name: "parts"}, "parts"
	r := f.start()
	dbtest.Until(t, "a check", func() bool { return r.relay.State().Slot.Active })
	before := r.relay.State().Slot.Seen
	f.Exec("alter table public.parts detach partition public.part")
	f.Exec("create table public.other partition of public.parts default")
	dbtest.Until(t, "another check", func() bool { r.look(); return r.relay.State().Slot.Seen.After(before) })
	f.put("public.parts", "payload", "a")
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	f.Exec("alter publication parts set (publish_via_partition_root = false)")
	r.look()
	if err := r.wait(); err == nil || !pgerror.IsPermanent(err) || !strings.Contains(err.Error(), "SET (publish_via_partition_root = true)") {
		t.Fatalf("ended with %v", err)
	}
}

// TestWatchAgain: the cure in the error for rows that are in no slot works.
func TestWatchAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.start()
	f.Exec("alter publication walpost drop table walpost.outbox")
	f.Insert(2)
	r.look()
	err := r.wait()
	_, sql, ok := strings.Cut(err.Error(), "for example: ")
	if !ok {
		t.Fatalf("ended with %v", err)
	}
	f.Exec("alter publication walpost add table walpost.outbox")
	r = f.start()
	f.Exec(sql)
	dbtest.Until(t, "the rows", func() bool { return f.sink.distinct() == 2 })
	r.stop()
}

// TestHoleInThePublication: a publication that was altered between two checks and is complete again stops the relay, also if a session has
// ended meanwhile. Started again, the relay goes on.
func TestHoleInThePublication(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, hole := range []struct{ name, open, mend string }{
		{"inserts are not published", "alter publication walpost set (publish = 'update')", "alter publication walpost set (publish = 'insert')"},
		{"the table is not in it", "alter publication walpost drop table walpost.outbox", "alter publication walpost add table walpost.outbox"},
		{"it was dropped", "drop publication walpost", "create publication walpost for table walpost.outbox with (publish = 'insert')"},
	} {
		for _, broken := range []bool{false, true} {
			r := f.start()
			r.look()
			dbtest.Until(t, "a check", func() bool { return r.relay.State().Slot.Active })
			// In one transaction, so that no check sees the state in between, which would be another fault. Afterwards the catalog looks
			// the same.
			f.Exec("begin")
			f.Exec(hole.open)
			f.Exec(hole.mend)
			f.Exec("commit")
			if broken {
				f.Exec("select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '" + f.cfg.Slot + "'")
			} else {
				r.look()
			}
			if err := r.wait(); err == nil || !strings.Contains(err.Error(), "meanwhile it may not have published") || !strings.Contains(err.Error(), "INSERT INTO walpost.outbox") {
				t.Errorf("%s, session ended: %t: ended with %v", hole.name, broken, err)
			}
		}
	}
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "the next event", func() bool { return f.sink.count() >= 1 })
	r.stop()
}

// TestHoleInASchemasPublication: if the tables of a schema are removed from the publication and added again between two checks, the relay
// stops, too. Neither the row of the publication nor one of the table changes.
func TestHoleInASchemasPublication(t *testing.T) {
	t.Parallel()
	for _, major := range long.Or([]int{18}, []int{15, 18}) {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			t.Parallel()
			f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
			f.Exec("create schema app")
			f.Exec("create table app.outbox (like walpost.outbox including defaults)")
			f.Exec("create publication app for tables in schema app with (publish = 'insert')")
			f.cfg.Table, f.cfg.Publication = schema.Table{Schema: "app", Name: "outbox"}, "app"
			r := f.start()
			dbtest.Until(t, "a check", func() bool { return r.relay.State().Slot.Active })
			f.Exec("begin")
			f.Exec("alter publication app drop tables in schema app")
			f.put("app.outbox", "payload", "missed")
			f.Exec("alter publication app add tables in schema app")
			f.Exec("commit")
			r.look()
			dbtest.WantPermanent(t, r.wait(), "publication app was altered", "meanwhile it may not have published", "INSERT INTO app.outbox")
			r = f.start()
			f.put("app.outbox", "payload", "next")
			dbtest.Until(t, "the next event", func() bool { return f.sink.count() == 1 })
			r.stop()
		})
	}
}

// TestFailedLooks: checks that fail while the stream goes on are counted. They are logged once, and so is their end.
func TestFailedLooks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var astray atomic.Bool
	f.cfg.Renew = func() string {
		if astray.Load() {
			return f.As("nobody_knows")
		}
		return f.DSN
	}
	r := f.start()
	failures := func() int { return int(gather(t, r.registry)["walpost_watch_failures_total"]) }
	if _, ok := gather(t, r.registry)["walpost_watch_failures_total"]; !ok || failures() != 0 {
		t.Errorf("%d failed checks at the start, or no metric", failures())
	}
	dbtest.Until(t, "a check", func() bool { return r.relay.State().Slot.Active })
	astray.Store(true)
	const told, ended = "rows that reach no slot go unnoticed", "the checks of slot, outbox and publication succeed again"
	for i := range 5 {
		r.look()
		r.await("another failed check", func() bool { return failures() > i })
		if got, enough := f.Logs.Has(told), failures() >= 3; got && !enough {
			t.Errorf("logged after %d failed checks", failures())
		}
	}
	if n := f.Logs.Count(told); n != 1 || !f.Logs.Has("nobody_knows") || !f.Logs.Has("looks=3") {
		t.Errorf("logged failed checks %d times, or without the reason", n)
	}
	if f.Logs.Has(ended) {
		t.Error("logged the end of failed checks too early")
	}
	astray.Store(false)
	r.look()
	r.await("the end of failed checks is logged", func() bool { return f.Logs.Has(ended) })
	before := r.relay.State().Slot.Seen
	r.look()
	r.await("another check", func() bool { return r.relay.State().Slot.Seen.After(before) })
	if n := f.Logs.Count(ended); n != 1 {
		t.Errorf("logged the end of failed checks %d times", n)
	}
	r.stop()
}

// TestWatchGoesOn: another table under the old name is the outbox from then on, and is recorded.
func TestWatchGoesOn(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			t.Parallel()
			watchGoesOn(t, fixtureOn(t, pgtest.NewMajor(t, major).DSN))
		})
	}
}

func watchGoesOn(t *testing.T, f *fixture) {
	r := f.start()
	oid := func(sql string) (n uint32) {
		t.Helper()
		if err := f.Conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const recorded = "select table_oid from walpost.relay_state"
	dbtest.Until(t, "a check", func() bool {
		s := r.relay.State().Slot
		return s.Active && s.WALStatus == "reserved" && s.SafeBytes == -1
	})
	f.Exec("create table walpost.next (like walpost.outbox including all)")
	f.Exec("begin")
	f.Exec("drop table walpost.outbox cascade")
	f.Exec("alter table walpost.next rename to outbox")
	f.Exec("alter publication walpost add table walpost.outbox")
	f.Exec("commit")
	r.look()
	live := oid("select 'walpost.outbox'::regclass::oid")
	dbtest.Until(t, "the new table is recorded", func() bool { return oid(recorded) == live })
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	if !f.Logs.Has("another table under the same name") {
		t.Error("the log has nothing about the new table")
	}

	f.Insert(1)
	dbtest.Until(t, "2 events", func() bool { return f.sink.count() == 2 })
	r.stop()
	if f.Logs.Has("Postgres will invalidate it") {
		t.Error("logged a slot in danger although there is no limit")
	}

	// Now the same while the relay is stopped.
	f.Exec("create table walpost.next (like walpost.outbox including all)")
	f.Exec("drop table walpost.outbox cascade")
	f.Exec("alter table walpost.next rename to outbox")
	f.Exec("alter publication walpost add table walpost.outbox")
	r = f.start()
	f.Insert(1)
	dbtest.Until(t, "3 events", func() bool { return f.sink.count() == 3 })
	if !f.Logs.Has("the outbox is not the table that was streamed before") {
		t.Error("the start logged nothing about the new table")
	}
	r.stop()
	f.Exec("alter table walpost.outbox rename to events")
	if err := f.launch().wait(); err == nil || !strings.Contains(err.Error(), "was renamed to walpost.events") {
		t.Errorf("ended with %v", err)
	}
}

// TestWatcherRuns: the watcher checks at intervals, and at once when it is woken. A failed check changes nothing.
func TestWatcherRuns(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := newWatcher(&Relay{log: f.Logs.Logger(), parker: parking.New(parking.Config{}), metrics: &metrics{watchFailures: prometheus.NewCounter(prometheus.CounterOpts{Name: "failures"})}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := make(chan struct{})
	look := func(ctx context.Context) error {
		select {
		case looks <- struct{}{}:
		case <-ctx.Done():
		}
		return errors.New("no connection")
	}
	next := func(what string) {
		t.Helper()
		select {
		case <-looks:
		case <-time.After(10 * time.Second):
			t.Fatal(what)
		}
	}
	w.every = time.Hour
	go w.run(ctx, look)
	w.watch(&session{})
	next("no look at a new session")
	other := newWatcher(w.relay)
	other.every = time.Millisecond
	go other.run(ctx, look)
	next("no look by itself")
	next("no second look")
}
