package relay

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/testenv/proxy"
	"walpost/relay/internal/dbtest"
	"walpost/relay/internal/wake"
	"walpost/schema"
)

// fixture is a database, and the configuration of the relays that run on it.
type fixture struct {
	*dbtest.Database
	sink *fakeSink
	cfg  Config

	noChecks bool // relays do not check slot, outbox and publication before a test calls look
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return newFixtureOn(dbtest.New(t))
}

// fixtureOn returns a fixture of the database of a DSN.
func fixtureOn(t testing.TB, dsn string) *fixture {
	t.Helper()
	return newFixtureOn(dbtest.On(t, dsn))
}

func newFixtureOn(db *dbtest.Database) *fixture {
	sink := newFakeSink(true)
	return &fixture{Database: db, sink: sink, cfg: Config{Config: db.Config(), Park: true, OpenSink: sink.open}}
}

// running is a running relay.
type running struct {
	*fixture
	relay    *Relay
	registry *prometheus.Registry
	cancel   context.CancelFunc
	ended    chan error
	checks   atomic.Bool // the watcher may check; see fixture.noChecks
}

// start starts a relay and waits until it leads.
func (f *fixture) start() *running {
	f.T.Helper()
	r := f.launch()
	r.await("the relay leads", func() bool { return r.relay.State().Role == Leader })
	return r
}

// launch starts a relay.
func (f *fixture) launch() *running {
	f.T.Helper()
	cfg := f.cfg
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	relay, err := New(cfg)
	if err != nil {
		f.T.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{fixture: f, relay: relay, registry: registry, cancel: cancel, ended: make(chan error, 1)}
	r.checks.Store(!f.noChecks)
	relay.watcher.check = func(ctx context.Context) error {
		if !r.checks.Load() {
			return nil
		}
		return relay.watcher.look(ctx)
	}
	done := make(chan struct{})
	go func() {
		r.ended <- relay.Run(ctx)
		close(done)
	}()
	f.T.Cleanup(func() { cancel(); <-done })
	return r
}

// stop ends a relay as SIGTERM does.
func (r *running) stop() {
	r.T.Helper()
	r.cancel()
	if err := r.wait(); err != nil {
		r.T.Fatalf("the relay ended: %v", err)
	}
}

func (r *running) wait() error {
	r.T.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(dbtest.Patience):
		r.T.Fatal("the relay does not end")
		return nil
	}
}

// mustRun fails the test if the relay has ended.
func (r *running) mustRun() {
	r.T.Helper()
	select {
	case err := <-r.ended:
		r.T.Fatalf("the relay ended: %v", err)
	default:
	}
}

// await waits for a fact, and fails the test if the relay ends meanwhile.
func (r *running) await(what string, fact func() bool) {
	r.T.Helper()
	dbtest.Until(r.T, what, func() bool { r.mustRun(); return fact() })
}

// reader creates a role that may stream and keep state, but not read the outbox, and returns its name. From now on relays log in as that
// role.
func (f *fixture) reader() string {
	f.T.Helper()
	role := f.Role("reader", "login replication")
	f.Exec("grant usage on schema walpost to " + role)
	f.Exec("grant select, insert, update, delete on walpost.relay_state, walpost.dead_letters to " + role)
	f.cfg.ConnString = f.As(role)
	return role
}

// grantRelay grants role the rights of a relay that the schema grants.
func grantRelay(ctx context.Context, f *fixture) error {
	for _, s := range schema.Statements(schema.Options{RelayRole: "relay"}) {
		if strings.Contains(s.SQL, "publication") {
			continue
		}
		if _, err := f.Conn.Exec(ctx, s.SQL); err != nil {
			return fmt.Errorf("%s: %w", s.SQL, err)
		}
	}
	return nil
}

// behindProxy makes relays that start from now on connect through a proxy.
func (f *fixture) behindProxy() *proxy.Proxy {
	f.T.Helper()
	u, err := url.Parse(f.DSN)
	if err != nil {
		f.T.Fatal(err)
	}
	network := proxy.Start(f.T, u.Host)
	u.Host = network.Address()
	f.cfg.ConnString = u.String()
	return network
}

// kill terminates the walsender and waits until it has ended.
func (f *fixture) kill() {
	f.T.Helper()
	pid := f.walsender()
	f.Exec("select pg_terminate_backend($1)", pid)
	dbtest.Until(f.T, "the walsender is gone", func() (gone bool) {
		if err := f.Conn.QueryRow(f.T.Context(), "select not exists (select from pg_stat_activity where pid = $1)", pid).Scan(&gone); err != nil {
			f.T.Fatal(err)
		}
		return gone
	})
}

// walsender returns the process that has the slot, 0 if there is none.
func (f *fixture) walsender() (pid int) {
	f.T.Helper()
	const query = "select coalesce(active_pid, 0) from pg_replication_slots where slot_name = $1"
	if err := f.Conn.QueryRow(f.T.Context(), query, f.cfg.Slot).Scan(&pid); err != nil {
		f.T.Fatal(err)
	}
	return pid
}

// active reports whether the slot is in use.
func (f *fixture) active() (active bool) {
	f.T.Helper()
	if err := f.Conn.QueryRow(f.T.Context(), "select active from pg_replication_slots where slot_name = $1", f.cfg.Slot).Scan(&active); err != nil {
		f.T.Fatal(err)
	}
	return active
}

// checkPositions checks that positions grow, and that the rows of a transaction are numbered.
func (f *fixture) checkPositions() {
	f.T.Helper()
	events := f.sink.all()
	for i, e := range events {
		if e.position.Timeline != 1 {
			f.T.Errorf("event %d: position %v is not of timeline 1", i, e.position)
		}
		if i > 0 && events[i-1].position.Compare(e.position) >= 0 {
			f.T.Errorf("event %d: position %v after %v", i, e.position, events[i-1].position)
		}
	}
}

// commitOf returns where the commit record of an event's transaction starts.
func (f *fixture) commitOf(event int) pglogrepl.LSN {
	return pglogrepl.LSN(f.sink.all()[event].position.LSN)
}

// put inserts one event into a table, with its payload in the given column.
func (f *fixture) put(table, column, payload string) {
	f.T.Helper()
	f.Exec(`insert into ` + table + ` (aggregatetype, aggregateid, type, ` + column + `) values ('order', '1', 'placed', '"` + payload + `"')`)
}

// look makes the watcher check at once.
func (r *running) look() {
	r.checks.Store(true)
	wake.Signal(r.relay.watcher.wake)
}

// gather returns all metrics by name, with the label target if there is one; for a histogram, its count.
func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "/" + l.GetValue()
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}
