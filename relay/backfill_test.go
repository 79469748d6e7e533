package relay

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"walpost/internal/diagnosis"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/child"
	"walpost/internal/testenv/long"
	"walpost/internal/testenv/need"
	"walpost/internal/testenv/proxy"
	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
	"walpost/schema"
)

// TestBackfill: the rows that are in the table come first, in order and each once, while other sessions insert. Their positions are lower
// than those of all events from the slot.
func TestBackfill(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
		f.Exec(`insert into walpost.outbox (aggregatetype, aggregateid, type, payload, created_at)
			select 'order', g::text, 'placed', '{}', timestamptz '2026-01-01' - g * interval '1 minute' from generate_series(1, 2000) g`)
		f.Exec(`delete from walpost.outbox where aggregateid = '7'`)
		stop := make(chan struct{})
		written := make(chan int)
		go func() { // while the backfill runs
			c, err := pgx.Connect(context.Background(), f.DSN)
			if err != nil {
				t.Error(err)
			}
			defer c.Close(context.Background())
			for n := 0; ; n++ {
				select {
				case <-stop:
					written <- n
					return
				default:
					if _, err := c.Exec(context.Background(), `insert into walpost.outbox (aggregatetype, aggregateid, type, payload) values ('order', 'new', 'placed', '{}')`); err != nil {
						t.Error(err)
					}
				}
			}
		}()
		f.cfg.MaxInFlightBytes = 50_000
		r := f.start()
		f.Insert(1)
		close(stop)
		total := 1999 + <-written + 1
		dbtest.Until(t, "all events", func() bool { return f.sink.count() >= total })
		r.stop()
		seen := map[string]bool{}
		for i, e := range f.sink.all() {
			if seen[e.id] {
				t.Fatalf("event %d came twice", i)
			}
			seen[e.id] = true
			if back := i < 1999; back != (e.commit == schema.NoTime) && i < 1999 {
				t.Fatalf("event %d: commit time %d", i, e.commit)
			}
		}
		if len(seen) != total {
			t.Errorf("%d of %d events", len(seen), total)
		}
		f.checkPositions()
		var want []string
		rows, _ := f.Conn.Query(t.Context(), "select id::text from walpost.outbox order by created_at, ctid limit 1999")
		want, _ = pgx.CollectRows(rows, pgx.RowTo[string])
		if !slices.Equal(f.sink.ids()[:1999], want) {
			t.Error("the rows of the backfill did not come in the order of created_at")
		}
		if f.sink.opened != 2+0 || f.sink.closed != 2 {
			t.Errorf("%d sinks opened, %d closed; want one for the backfill and one for the stream", f.sink.opened, f.sink.closed)
		}
		var snapshot string
		if err := f.Conn.QueryRow(t.Context(), "select snapshot_lsn::text from walpost.relay_state where phase = 'streaming'").Scan(&snapshot); err != nil {
			t.Fatal(err)
		}
		lsn, _ := pglogrepl.ParseLSN(snapshot)
		if got := f.sink.all()[5].position; got != (schema.Position{Timeline: 1, LSN: uint64(lsn) - 1, Index: 5}) {
			t.Errorf("row 5 has position %v, the snapshot is %v", got, lsn)
		}
	}
}

// TestBackfillDiedHalfWay: if a first start ends half-way, the next relay repeats it, with the rows that are in the table now and the slot
// that exists.
func TestBackfillDiedHalfWay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sink.setAuto(false)
	f.Insert(10)
	r := f.launch()
	dbtest.Until(t, "the backfill's rows", func() bool { return f.sink.count() == 10 })
	r.stop() // at once, because a backfill has nothing to confirm
	f.Insert(2)
	f.Exec("delete from walpost.outbox where aggregateid = '2'")
	f.sink.setAuto(true)
	r = f.start()
	// The backfill publishes the rows that are left of the first ten, and of the new ones. Then the slot brings everything since its
	// creation.
	dbtest.Until(t, "all events", func() bool { return f.sink.count() >= 10+10+2 })
	r.stop()
	again := f.sink.ids()[10:]
	for _, id := range f.IDs() {
		if !slices.Contains(again, id) {
			t.Errorf("event %s was lost", id)
		}
	}
}

// TestBackfillLongerThanAnIdleLimit: a balancer closes connections that are idle for 2 s, and a backfill waits for its acks longer than
// that. Still the relay goes on to the stream without an error. Otherwise it would publish the whole table again, each time.
func TestBackfillLongerThanAnIdleLimit(t *testing.T) {
	t.Parallel()
	for name, balance := range map[string]func(t *testing.T, server string) (address string){
		"proxy": func(t *testing.T, server string) string {
			p := proxy.Start(t, server)
			p.LimitIdle(2 * time.Second)
			return p.Address()
		},
		"HAProxy": startHAProxy,
	} {
		t.Run(name, func(t *testing.T) {
			if name == "HAProxy" {
				long.Only(t) // the proxy limits idle connections as HAProxy does
			}
			t.Parallel() // mostly waiting
			f := newFixture(t)
			u, err := url.Parse(f.DSN)
			if err != nil {
				t.Fatal(err)
			}
			u.Host = balance(t, u.Host)
			f.cfg.ConnString = u.String()
			f.sink.setAuto(false)
			f.Insert(3)
			r := f.launch()
			r.await("the backfill's rows", func() bool { return f.sink.count() == 3 })
			// The creation of the slot waits for transactions of other tests in the cluster, so the balancer may have cut that.
			early := f.Logs.Count("waiting") + f.Logs.Count("level=ERROR")
			// The backfill's own connection is not needed any more, so the balancer may close it.
			r.await("an idle connection is closed", func() bool {
				return f.Ask(`select count(*)::text from pg_stat_activity
					where datname = current_database() and application_name = 'walpost' and state = 'idle in transaction'`) == "0"
			})
			f.sink.setAuto(true)
			r.await("the relay leads", func() bool { return r.relay.State().Role == Leader })
			f.Insert(1)
			r.await("4 events", func() bool { return f.sink.count() >= 4 })
			r.stop()
			if got, want := f.sink.ids(), f.IDs(); !slices.Equal(got, want) {
				t.Errorf("published %q, want each of %q once", got, want)
			}
			if f.Logs.Count("waiting")+f.Logs.Count("level=ERROR") > early {
				t.Error("the relay logged an error between backfill and stream")
			}
		})
	}
}

// startHAProxy starts an HAProxy before a server, with idle time-outs of 2 s, and returns its address.
func startHAProxy(t *testing.T, server string) (address string) {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		need.Met(t, &need.Lack{What: "HAProxy", Tried: []string{err.Error()}, Ways: []string{"install the package (apt-get install haproxy, dnf install haproxy, brew install haproxy)"}})
	}
	home, err := child.NewHome("walpost-haproxy-", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { home.Close() })
	port, err := child.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	config, err := home.WriteFile("haproxy.cfg", fmt.Appendf(nil, `
defaults
	mode tcp
	timeout connect 5s
	timeout client 2s
	timeout server 2s
listen postgres
	bind %s
	server postgres %s
`, child.Address(port), server))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := home.Start(child.Spec{Path: program, Args: []string{"-db", "-f", config}, Log: home.Path("log"), Death: syscall.SIGTERM}); err != nil {
		t.Fatal(err)
	}
	dbtest.Until(t, "HAProxy answers", func() bool {
		c, err := net.Dial("tcp", child.Address(port))
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	return child.Address(port)
}

// TestRepeatedBackfillKeepsItsPosition: rows that a repeated backfill publishes have lower positions than all events from the slot, as in
// the first backfill. That holds whether or not the first attempt has recorded where the slot begins.
func TestRepeatedBackfillKeepsItsPosition(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]bool{"recorded": false, "not recorded": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.sink.setAuto(false)
			f.Insert(3)
			r := f.launch()
			dbtest.Until(t, "the backfill's rows", func() bool { return f.sink.count() == 3 })
			r.stop()
			began := f.sink.all()[0].position
			if forget {
				f.Exec("update walpost.relay_state set snapshot_lsn = null")
			}
			f.Insert(2) // in the slot, and in the next snapshot
			r = f.launch()
			dbtest.Until(t, "the backfill's rows again", func() bool { return f.sink.count() == 3+5 })
			r.stop()
			f.sink.setAuto(true)
			r = f.start()
			dbtest.Until(t, "all events", func() bool { return f.sink.count() == 3+5+5+2 })
			r.stop()
			for i, e := range f.sink.all()[3:] {
				want := schema.Position{Timeline: 1, LSN: began.LSN, Index: uint32(i % 5)}
				if i < 10 && e.position != want {
					t.Errorf("row %d of a repeated backfill: position %v, want %v", i, e.position, want)
				}
				if i >= 10 && e.position.Compare(want) <= 0 {
					t.Errorf("an event from the slot has position %v, want one above %v", e.position, want)
				}
			}
		})
	}
}

func TestBackfillSkip(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.Backfill = "skip"
	f.Insert(5)
	r := f.start()
	f.Insert(1)
	dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
	r.stop()
	if got, want := f.sink.ids(), f.IDs()[5:]; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if !f.Logs.Has("rows=5") {
		t.Error("the log does not say how many rows were skipped")
	}
}

// TestBackfillSkipUnread: if rows are not published, the role needs no right to read them.
func TestBackfillSkipUnread(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*fixture){
		"no SELECT": func(f *fixture) { f.reader() },
		"row level security": func(f *fixture) {
			f.Exec("grant select on walpost.outbox to " + f.reader())
			f.Exec("alter table walpost.outbox enable row level security")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.cfg.Backfill = "skip"
			prepare(f)
			f.Insert(5)
			if failed, text := dbtest.FindingsOf(f.diagnose(), diagnosis.Failed); failed != nil {
				t.Errorf("the diagnosis failed:\n%s", text)
			}
			r := f.start()
			f.Insert(1)
			dbtest.Until(t, "1 event", func() bool { return f.sink.count() == 1 })
			r.stop()
			if got, want := f.sink.ids(), f.IDs()[5:]; !slices.Equal(got, want) {
				t.Errorf("published %q, want %q", got, want)
			}
			if !f.Logs.Has("rows=\"unknown: ERROR:") {
				t.Error("the log has a number of skipped rows, although the role could not count them")
			}
		})
	}
}

// TestBackfillNeverReadsLess: a row policy that is created after the checks does not hide rows from the backfill.
func TestBackfillNeverReadsLess(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Exec("grant select on walpost.outbox to " + f.reader())
	f.Insert(3)
	f.cfg.OpenSink = func(ctx context.Context, acks Acks) (Sink, error) {
		f.Exec("alter table walpost.outbox enable row level security")
		return f.sink.open(ctx, acks)
	}
	err := f.launch().wait()
	if strings.Contains(fmt.Sprint(err), "BYPASSRLS") { // the start was repeated, because other tests' transactions kept the slot from being created
		dbtest.WantPermanent(t, err, "row level security")
	} else {
		dbtest.WantPermanent(t, err, "42501", "row-level security")
	}
	if n := f.sink.count(); n > 0 {
		t.Errorf("%d rows were published", n)
	}
	if got := f.Phase(); got != postgres.PhaseBackfilling {
		t.Errorf("phase %q", got)
	}
}
