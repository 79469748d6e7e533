package relay

import (
	"testing"
	"time"

	"walpost/internal/diagnosis"
	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
)

// TestReadOnlyDatabase: on a managed server whose disk is full, transactions are read-only by default. Still walpost makes its first start,
// streams, records its state and stops as usual: otherwise it would never drain the slot that fills the disk. It logs that once, with the
// cure.
func TestReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		close func(f *fixture)
		cure  string
	}{
		"role": {
			func(f *fixture) { f.Exec("alter role " + f.writer() + " set default_transaction_read_only = on") },
			"_reader RESET default_transaction_read_only",
		},
		"role in the database": {
			func(f *fixture) {
				f.Exec("alter role " + f.writer() + " in database " + f.Conn.Config().Database + " set default_transaction_read_only = on")
			},
			"_reader IN DATABASE ",
		},
		"database": {
			func(f *fixture) {
				f.Exec("alter database " + f.Conn.Config().Database + " set default_transaction_read_only = on")
			},
			"run: ALTER DATABASE ",
		},
		"connection string": {
			func(f *fixture) { f.cfg.ConnString += "&default_transaction_read_only=on" },
			"remove default_transaction_read_only from the connection string",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.Insert(2)
			c.close(f)
			list := f.diagnose()
			dbtest.WantFinding(t, list, "server", "warning", "default_transaction_read_only", c.cure)
			if failed, text := dbtest.FindingsOf(list, diagnosis.Failed); failed != nil {
				t.Errorf("failed: %s", text)
			}
			r := f.start()
			dbtest.Until(t, "the backfill", func() bool { return f.sink.count() == 2 })
			f.Insert(1)
			dbtest.Until(t, "3 events", func() bool { return f.sink.count() == 3 })
			f.kill()
			f.Insert(1)
			dbtest.Until(t, "4 events", func() bool { return f.sink.distinct() == 4 })

			// The watcher records another table under the old name.
			f.Exec("create table walpost.next (like walpost.outbox including all)")
			f.Exec("begin")
			f.Exec("drop table walpost.outbox cascade")
			f.Exec("alter table walpost.next rename to outbox")
			f.Exec("alter publication walpost add table walpost.outbox")
			f.Exec("commit")
			r.look()
			r.await("the new table is recorded", func() bool {
				return f.Ask("select (table_oid = 'walpost.outbox'::regclass)::text from walpost.relay_state") == "true"
			})
			// The recorder writes, too, and so does a clean stop.
			r.await("a confirmation is recorded", func() bool {
				return f.Ask("select (confirmed_lsn is not null)::text from walpost.relay_state") == "true"
			})
			r.stop()
			if got := f.Ask("select clean_stop::text from walpost.relay_state"); got != "true" {
				t.Errorf("clean_stop is %s", got)
			}
			if n := f.Logs.Count("read-only by default"); n != 1 || !f.Logs.Has(c.cure) {
				t.Errorf("logged read-only transactions %d times, or without the cure", n)
			}
			for _, said := range []string{"walpost.relay_state is not up to date", "the clean stop is not recorded"} {
				if f.Logs.Has(said) {
					t.Errorf("logged %q", said)
				}
			}
		})
	}
}

// writer creates a role with the rights of a relay, and returns its name. From now on relays log in as that role.
func (f *fixture) writer() string {
	f.T.Helper()
	role := f.reader()
	f.Exec("grant select on walpost.outbox to " + role)
	f.Exec("grant delete on walpost.relay_state to " + role)
	return role
}

// TestTurnedReadOnly: walpost logs when transactions become read-only by default while it streams, and when they no longer are. It records
// its state all the time.
func TestTurnedReadOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.start()
	look := func(what, want string) {
		t.Helper()
		r.look()
		r.await(what, func() bool { return f.Logs.Has(want) })
	}
	alter := "alter database " + f.Conn.Config().Database
	f.Exec(alter + " set default_transaction_read_only = on")
	look("the closing is told of", "read-only by default")
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	rec := postgres.NewRecorder(f.cfg.Slot, r.relay.source.Open)
	if err := rec.Record(t.Context(), f.Confirmed(), time.Now().UnixMicro(), false); err != nil {
		t.Error(err)
	}
	f.Exec(alter + " reset default_transaction_read_only")
	look("the opening is told of", "transactions are no longer read-only by default")
	r.stop()
}

// TestReadOnlyWithoutPublication: walpost does not override the default to create the publication. It waits, and says how to go on.
func TestReadOnlyWithoutPublication(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Exec("drop publication walpost")
	alter := "alter database " + f.Conn.Config().Database
	f.Exec(alter + " set default_transaction_read_only = on")
	cure := []string{"publication walpost does not exist", "read-only by default", "run: ALTER DATABASE "}
	dbtest.WantFailed(t, f.diagnose(), cure...)
	r := f.launch()
	r.await("it waits", func() bool { return r.relay.State().Role == Waiting })
	for _, word := range cure {
		dbtest.Until(t, "the reason says "+word, func() bool { return f.Logs.Has(word) })
	}
	if f.Slots() > 0 {
		t.Error("a slot was created")
	}
	f.Exec(alter + " reset default_transaction_read_only")
	r.await("it streams", func() bool { return r.relay.State().Role == Leader })
	r.stop()
}

// TestReadOnlyUndo: also on a read-only database, a first start removes its phase if the server refuses the slot.
func TestReadOnlyUndo(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_replication_slots": "1"}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.Exec("select pg_create_physical_replication_slot('taken')")
	f.cfg.ConnString += "&default_transaction_read_only=on"
	dbtest.WantPermanent(t, f.launch().wait(), "max_replication_slots")
	if phase := f.Phase(); phase != "" || f.Logs.Has("keeps the row of a first start that failed") {
		t.Errorf("the phase %q stays recorded", phase)
	}
}
