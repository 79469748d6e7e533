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

// TestSilentServerIsKeptWhileItWorks: the session goes on while a walsender sends nothing but works, and state and log show that. When the
// walsender waits instead, the session ends. Until then the relay confirms acks.
func TestSilentServerIsKeptWhileItWorks(t *testing.T) {
	t.Parallel()
	server := startSession(t, func(s *session) { s.silence.Limit = 300 * time.Millisecond })
	server.activity.Store(&postgres.Activity{Present: true, Visible: true, EventType: "IO", Event: "ReorderBufferRead"})
	state := func() State { return server.session.relay.State() }
	server.send(relationFrame(), beginFrame(0x1000), insertFrame("{}"), commitFrame(0x1000, 0x1030))
	dbtest.Until(t, "the relay waits for the walsender", func() bool { return strings.Contains(state().Reason, "because it works (IO: ReorderBufferRead)") })
	server.sink.ack(1)
	dbtest.Until(t, "acks are confirmed to the silent server", func() bool { return server.last() == 0x1030 })
	if s := state(); s.Role != Leader {
		t.Errorf("the relay is %s", s.Role)
	}
	server.send(frame.Keepalive(0x2000, 0))
	dbtest.Until(t, "it sends again", func() bool { return server.logs.Has("the walsender sends again") })
	dbtest.Until(t, "it is silent again", func() bool { return state().Reason != "" })
	if n := server.logs.Count("because it works"); n != 2 {
		t.Errorf("logged two silences %d times", n)
	}
	server.activity.Store(&postgres.Activity{Present: true, Visible: true, EventType: "Client", Event: "WalSenderWaitForWAL"})
	err := server.wait(5 * time.Second)
	dbtest.WantError(t, err, "the server has sent nothing for", "its walsender does not work: it waits for walpost (Client: WalSenderWaitForWAL)")
}

// TestSilentServerIsLeftUnanswered: the session also ends if the check of the walsender gets no answer.
func TestSilentServerIsLeftUnanswered(t *testing.T) {
	t.Parallel() // mostly waiting
	server := startSession(t, func(s *session) { s.silence.Limit = 300 * time.Millisecond })
	dbtest.WantError(t, server.wait(6*time.Second), "cannot find out what its walsender does")
}

// TestFrozenWalsenderIsLeft: the relay disconnects from a walsender that is frozen while it is idle, within the allowed silence and five
// seconds. When that walsender has ended, the relay streams again.
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
	dbtest.Until(t, "the relay disconnects", func() bool { return r.relay.State().Role != Leader })
	if took := time.Since(frozen); took > f.cfg.Silence+5*time.Second {
		t.Errorf("disconnected after %v", took)
	}
	dbtest.Until(t, "the log says why", func() bool { return f.Logs.Has("its walsender does not work") }) // it comes after the role
	thaw()
	f.Insert(1)
	r.await("the next event", func() bool { return f.sink.distinct() == 2 })
	r.stop()
}

// TestBusyWalsenderIsKept: a walsender that decodes for long sends nothing meanwhile: on 14 and 15 while it skips the rows of a rewritten
// table, and on all versions with a long wal_sender_timeout. The session goes on, and the event after these rows comes once.
func TestBusyWalsenderIsKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		major  int
		params string
		load   string // SQL with the number of rows
	}{
		"refreshed view on 14":              {14, "", "create materialized view large as select n from generate_series(1, %d) n with no data; refresh materialized view large"},
		"rewritten table on 14":             {14, "", "create unlogged table large as select n from generate_series(1, %d) n; alter table large set logged"},
		"bulk load with a time-out of 5min": {18, "&wal_sender_timeout=5min", "create table large as select n from generate_series(1, %d) n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the load is in Postgres
			if strings.HasPrefix(name, "rewritten") {
				long.Only(t) // the refreshed view is the same to the walsender
			}
			f := fixtureOn(t, pgtest.NewMajor(t, c.major).DSN)
			f.cfg.Silence = 300 * time.Millisecond
			f.cfg.ConnString += c.params + "&options=-c%20logical_decoding_work_mem%3D64kB" // so all changes are spilled to disk
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
				t.Errorf("process %d holds the slot, before it was %d", got, pid)
			}
			r.stop()
			if got, want := f.sink.ids(), f.IDs(); !slices.Equal(got, want) {
				t.Errorf("published %d events, want the %d of the table, each once", len(got), len(want))
			}
		})
	}
}
