package relay

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"walpost/internal/pgtest"
	"walpost/internal/testenv/long"
	"walpost/relay/internal/dbtest"
)

// TestMillionsOfRowsPassedOver: the walsender skips millions of changed rows of another table. With the default silence the session goes
// on, and the event after these rows comes once. If the walsender sends nothing for that long, the log says that the relay waits for it. In
// the short size TestBusyWalsenderIsKept shows this with a silence of 0.3 s.
func TestMillionsOfRowsPassedOver(t *testing.T) {
	long.Only(t)
	const (
		load    = "create table large as select n, repeat('x', 20) t from generate_series(1, %d) n"
		view    = "create materialized view large as select n, repeat('x', 20) t from generate_series(1, %d) n with no data; refresh materialized view large"
		rewrite = load + "; alter table large alter n type text"
	)
	for _, c := range []struct {
		name   string
		major  int
		params string
		load   string // SQL with the number of rows
		silent bool   // the walsender sends nothing while it skips the rows
	}{
		// From 16 on the walsender sends keepalives meanwhile, as wal_sender_timeout requires.
		{"refreshed view", pgtest.OldestMajor, "", view, true},
		{"refreshed view", pgtest.NewestMajor, "", view, false},
		{"rewritten table", pgtest.OldestMajor, "", rewrite, true},
		{"rewritten table", pgtest.NewestMajor, "", rewrite, false},
		{"bulk load, 60 s", pgtest.OldestMajor, "&wal_sender_timeout=60s", load, true},
		{"bulk load, 60 s", pgtest.NewestMajor, "&wal_sender_timeout=60s", load, true},
		{"bulk load, 5 min", pgtest.OldestMajor, "&wal_sender_timeout=5min", load, true},
		{"bulk load, 5 min", pgtest.NewestMajor, "&wal_sender_timeout=5min", load, true},
	} {
		t.Run(fmt.Sprintf("%s, Postgres %d", c.name, c.major), func(t *testing.T) {
			// Not in parallel, because each needs gigabytes of disk.
			server := pgtest.Start(t, pgtest.Options{Major: c.major, Settings: map[string]string{"max_wal_size": "8GB"}})
			f := fixtureOn(t, server.DSN("postgres"))
			f.cfg.ConnString += c.params + "&options=-c%20logical_decoding_work_mem%3D64kB" // so all changes are spilled to disk
			r := f.start()
			pid := f.walsender()
			const kept = "has sent nothing for"
			rows := 4_000_000
			for ; ; rows *= 2 {
				for _, sql := range strings.Split(fmt.Sprintf(c.load, rows), "; ") {
					f.Exec(sql)
				}
				f.Exec("drop " + map[bool]string{true: "materialized view", false: "table"}[c.load == view] + " large")
				before := f.sink.count()
				began := time.Now()
				f.Insert(1)
				awaitLong(r, "the event behind the rows", func() bool {
					if n := gather(t, r.registry)["walpost_reconnects_total/postgres"]; n > 0 {
						t.Fatalf("the session ended at %d rows", rows)
					}
					return f.sink.count() > before
				})
				t.Logf("%d rows: the event behind them came after %v", rows, time.Since(began).Round(time.Millisecond))
				if f.Logs.Has(kept) || rows >= 64_000_000 || !c.silent && time.Since(began) > 2*f.cfg.SilenceLimit() {
					break
				}
			}
			if c.silent && !f.Logs.Has(kept) {
				t.Errorf("with %d rows the walsender is not silent for %v, or that is not noticed", rows, f.cfg.SilenceLimit())
			}
			r.await("the walsender sends again", func() bool { return r.relay.State().Reason == "" })
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

// awaitLong waits for a fact that takes minutes, and fails the test if the relay ends meanwhile.
func awaitLong(r *running, what string, fact func() bool) {
	r.T.Helper()
	for deadline := time.Now().Add(10 * time.Minute); !fact(); time.Sleep(50 * time.Millisecond) {
		if r.mustRun(); time.Now().After(deadline) {
			r.T.Fatalf("%s: not within ten minutes", what)
		}
	}
}

// TestGoneWalsenderIsLeft: the relay disconnects from a walsender that has ended within the default silence and five seconds, whatever
// hides its end. In the short size TestFrozenWalsenderIsLeft shows this with a silence of one second.
func TestGoneWalsenderIsLeft(t *testing.T) {
	long.Only(t)
	t.Parallel() // mostly waiting
	for name, c := range map[string]struct {
		end  func(t *testing.T, f *fixture, stall func(), signal func(int, syscall.Signal))
		says string
	}{
		// The process is frozen: it still exists, and waits for walpost.
		"frozen": {func(t *testing.T, f *fixture, _ func(), signal func(int, syscall.Signal)) {
			signal(f.walsender(), syscall.SIGSTOP)
		}, "its walsender does not work"},
		// The network hides its end, but lets new connections through.
		"ended unheard": {func(t *testing.T, f *fixture, stall func(), _ func(int, syscall.Signal)) {
			stall()
			f.kill()
		}, "it has ended"},
		// The whole server is frozen, so that no connection gets an answer.
		"with its server": {func(t *testing.T, f *fixture, _ func(), signal func(int, syscall.Signal)) {
			pid := f.walsender()
			signal(f.postmaster(), syscall.SIGSTOP)
			signal(pid, syscall.SIGSTOP)
		}, "cannot find out what its walsender does"},
		// It was working when it last sent something.
		"ended at work": {func(t *testing.T, f *fixture, stall func(), _ func(int, syscall.Signal)) {
			beside := f.beside()
			beside.Exec("create table large as select n from generate_series(1, 3000000) n")
			dbtest.Until(t, "the walsender works", func() bool {
				return f.Ask(fmt.Sprintf("select (coalesce(wait_event_type, '') not in ('Client', 'Activity'))::text from pg_stat_activity where pid = %d", f.walsender())) == "true"
			})
			stall()
			f.kill()
		}, "it has ended"},
	} {
		for _, major := range []int{pgtest.OldestMajor, pgtest.NewestMajor} {
			t.Run(fmt.Sprintf("%s, Postgres %d", name, major), func(t *testing.T) {
				t.Parallel()
				server := pgtest.Start(t, pgtest.Options{Major: major})
				f := fixtureOn(t, server.DSN("postgres"))
				network := f.behindProxy()
				r := f.start()
				f.Insert(1)
				r.await("1 event", func() bool { return f.sink.count() == 1 })
				r.await("the walsender waits", func() bool {
					return f.Ask(fmt.Sprintf("select coalesce(wait_event_type, '') from pg_stat_activity where pid = %d", f.walsender())) == "Client"
				})
				var stopped []int
				thaw := func() {
					for _, pid := range stopped {
						syscall.Kill(pid, syscall.SIGCONT)
					}
				}
				defer thaw()
				c.end(t, f, func() { network.Stall(true, true) }, func(pid int, s syscall.Signal) {
					if err := syscall.Kill(pid, s); err != nil {
						t.Fatal(err)
					}
					stopped = append(stopped, pid)
				})
				gone := time.Now()
				r.await("the relay disconnects", func() bool { return r.relay.State().Role != Leader })
				if took, most := time.Since(gone), f.cfg.SilenceLimit()+5*time.Second; took > most {
					t.Errorf("disconnected after %v, want at most %v", took, most)
				} else {
					t.Logf("left after %v", took.Round(time.Millisecond))
				}
				r.await("the log says "+c.says, func() bool { return f.Logs.Has(c.says) }) // the state changes first
				thaw()
				f.Insert(1)
				awaitLong(r, "the next event", func() bool { return f.sink.distinct() == 2 })
				r.stop()
			})
		}
	}
}

// beside returns the same database with a connection of its own.
func (f *fixture) beside() *dbtest.Database {
	f.T.Helper()
	d := &dbtest.Database{T: f.T, DSN: f.DSN}
	d.Reconnect()
	return d
}

// postmaster returns the process id of the server.
func (f *fixture) postmaster() int {
	f.T.Helper()
	pid, err := strconv.Atoi(f.Ask("select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)"))
	if err != nil {
		f.T.Fatal(err)
	}
	return pid
}
