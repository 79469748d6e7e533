package relay

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"walpost/internal/pgtest"
	"walpost/internal/testenv/long"
	"walpost/relay/internal/dbtest"
	"walpost/relay/internal/frame"
	"walpost/relay/postgres"
)

// TestSilentServerIsKeptWhileItWorks: a walsender that says nothing and works keeps its session, which shows in state and log. When it waits,
// the session is left. What was acked meanwhile has been told.
func TestSilentServerIsKeptWhileItWorks(t *testing.T) {
	t.Parallel()
	server := startSession(t, func(s *session) { s.silence.Limit = 300 * time.Millisecond })
	server.activity.Store(&postgres.Activity{Present: true, Visible: true, EventType: "IO", Event: "ReorderBufferRead"})
	state := func() State { return server.session.relay.State() }
	server.send(relationFrame(), beginFrame(0x1000), insertFrame("{}"), commitFrame(0x1000, 0x1030))
	dbtest.Until(t, "the walsender is kept", func() bool { return strings.Contains(state().Reason, "is kept: it works (IO: ReorderBufferRead)") })
	server.sink.ack(1)
	dbtest.Until(t, "what was acked is told to the silent server", func() bool { return server.last() == 0x1030 })
	if s := state(); s.Role != Leader {
		t.Errorf("the relay is %s", s.Role)
	}
	server.send(frame.Keepalive(0x2000, 0))
	dbtest.Until(t, "it has spoken", func() bool { return server.logs.Has("the walsender sends again") })
	dbtest.Until(t, "it is silent again", func() bool { return state().Reason != "" })
	if n := server.logs.Count("is kept: it works"); n != 2 {
		t.Errorf("told %d times of two silences", n)
	}
	server.activity.Store(&postgres.Activity{Present: true, Visible: true, EventType: "Client", Event: "WalSenderWaitForWAL"})
	err := server.wait(5 * time.Second)
	dbtest.WantError(t, err, "the server has sent nothing for", "its walsender does not work: it waits for walpost (Client: WalSenderWaitForWAL)")
}

// TestSilentServerIsLeftUnanswered: so is one that nobody can ask about.
func TestSilentServerIsLeftUnanswered(t *testing.T) {
	t.Parallel() // mostly waiting
	server := startSession(t, func(s *session) { s.silence.Limit = 300 * time.Millisecond })
	dbtest.WantError(t, server.wait(6*time.Second), "cannot find out what its walsender does")
}

// TestFrozenWalsenderIsLeft: a walsender that is frozen while it has nothing to do is left, within what its silence may last and five seconds.
// When it is gone the relay streams on.
func TestFrozenWalsenderIsLeft(t *testing.T) {
	t.Parallel() // mostly waiting
	server := pgtest.Start(t, pgtest.Options{})
	f := fixtureOn(t, server.DSN("postgres"))
	f.cfg.Silence = time.Second
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	dbtest.Until(t, "the walsender waits", func() bool {
		return f.Ask(fmt.Sprintf("select coalesce(wait_event_type, '') from pg_stat_activity where pid = %d", f.walsender())) == "Client"
	})
	pid := f.walsender()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	thaw := func() { syscall.Kill(pid, syscall.SIGCONT) }
	defer thaw()
	frozen := time.Now()
	dbtest.Until(t, "the relay leaves", func() bool { return r.relay.State().Role != Leader })
	if took := time.Since(frozen); took > f.cfg.Silence+5*time.Second {
		t.Errorf("left after %v", took)
	}
	if !f.Logs.Has("its walsender does not work") {
		t.Error("the log does not say why")
	}
	thaw()
	f.Insert(1)
	r.await("the next event", func() bool { return f.sink.distinct() == 2 })
	r.stop()
}

// TestBusyWalsenderIsKept: a walsender that has much to decode says nothing for as long as that takes: on 14 and 15 over the rows of a rewritten
// table, anywhere with a long wal_sender_timeout. The session lives through it, and what stands behind it comes once.
func TestBusyWalsenderIsKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		major  int
		params string
		load   string // of a number of rows
	}{
		"refreshed view on 14":              {14, "", "create materialized view large as select n from generate_series(1, %d) n with no data; refresh materialized view large"},
		"rewritten table on 14":             {14, "", "create unlogged table large as select n from generate_series(1, %d) n; alter table large set logged"},
		"bulk load with a time-out of 5min": {18, "&wal_sender_timeout=5min", "create table large as select n from generate_series(1, %d) n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // Postgres has the work
			if strings.HasPrefix(name, "rewritten") {
				long.Only(t) // the refreshed view is the same to the walsender
			}
			f := fixtureOn(t, pgtest.NewMajor(t, c.major).DSN)
			f.cfg.Silence = 300 * time.Millisecond
			f.cfg.ConnString += c.params + "&options=-c%20logical_decoding_work_mem%3D64kB" // all of it goes over the disk
			r := f.start()
			pid := f.walsender()
			const kept = "has sent nothing for"
			for rows := 250_000; !f.Logs.Has(kept); rows *= 2 {
				if rows > 8_000_000 {
					t.Fatalf("the walsender is not silent for %v, or that is not noticed", f.cfg.Silence)
				}
				if strings.Contains(c.load, "view") {
					f.Exec("drop materialized view if exists large")
				} else {
					f.Exec("drop table if exists large")
				}
				for _, sql := range strings.Split(fmt.Sprintf(c.load, rows), "; ") {
					f.Exec(sql)
				}
				before := f.sink.count()
				f.Insert(1)
				r.await("the event behind the rows", func() bool { return f.sink.count() > before })
			}
			r.await("the walsender sends again", func() bool { return r.relay.State().Reason == "" && f.Logs.Has("sends again") })
			if got := f.walsender(); got != pid {
				t.Errorf("the slot is held by process %d, before by %d", got, pid)
			}
			r.stop()
			if got, want := f.sink.ids(), f.IDs(); !slices.Equal(got, want) {
				t.Errorf("published %d events, want the %d of the table, each once", len(got), len(want))
			}
		})
	}
}
