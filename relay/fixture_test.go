package relay

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walpost/relay/internal/dbtest"
)

// fixture is a database, and what a relay on it is given.
type fixture struct {
	*dbtest.Database
	sink *told
	cfg  Config
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return newFixtureOn(dbtest.New(t))
}

// fixtureOn makes a fixture of the database of a DSN.
func fixtureOn(t testing.TB, dsn string) *fixture {
	t.Helper()
	return newFixtureOn(dbtest.On(t, dsn))
}

func newFixtureOn(db *dbtest.Database) *fixture {
	sink := newTold(true)
	return &fixture{Database: db, sink: sink, cfg: Config{Config: db.Config(), OpenSink: sink.open}}
}

// running is a relay at work.
type running struct {
	*fixture
	relay    *Relay
	registry *prometheus.Registry
	cancel   context.CancelFunc
	ended    chan error
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

// await waits for a fact about a relay that goes on running.
func (r *running) await(what string, fact func() bool) {
	r.T.Helper()
	dbtest.Until(r.T, what, func() bool { r.mustRun(); return fact() })
}
