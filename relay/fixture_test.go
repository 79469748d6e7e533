package relay

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"walpost/internal/catalog"
	"walpost/internal/pgtest"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/schema"
)

// fixture is a database with schema walpost and the outbox, and a relay on it.
type fixture struct {
	t    testing.TB
	dsn  string
	conn *pgx.Conn
	sink *told
	cfg  Config
	logs *logs
}

func newFixture(t testing.TB) *fixture {
	return fixtureOn(t, pgtest.New(t).DSN)
}

// fixtureOn makes a fixture in a database. Slots belong to the whole server, so each has a name of its own.
func fixtureOn(t testing.TB, dsn string) *fixture {
	t.Helper()
	f := &fixture{t: t, dsn: dsn, sink: newTold(true), logs: &logs{t: t}}
	f.reconnect()
	if err := catalog.Apply(t.Context(), f.conn, schema.Options{}); err != nil {
		t.Fatal(err)
	}
	var name string
	if err := f.conn.QueryRow(t.Context(), "select current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	f.cfg = Config{
		Config: postgres.Config{ConnString: dsn, Slot: "walpost_" + strings.ToLower(name), Publication: "walpost", Table: schema.DefaultTable,
			Mapping: schema.DefaultMapping(), Logger: f.logger()},
		OpenSink: f.sink.open,
	}
	return f
}

func (f *fixture) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// reconnect gives the fixture a connection, as at first and after a restart of the server.
func (f *fixture) reconnect() {
	f.t.Helper()
	conn, err := pgx.Connect(f.t.Context(), f.dsn)
	if err != nil {
		f.t.Fatal(err)
	}
	f.conn = conn
	f.t.Cleanup(func() { conn.Close(context.Background()) })
}

// logs keeps what a relay logged, and sends it to the test's log if WALPOST_TEST_LOG is set.
type logs struct {
	t    testing.TB
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if l.t.Context().Err() == nil && os.Getenv("WALPOST_TEST_LOG") != "" {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// has tells whether something was logged.
func (l *logs) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

func (f *fixture) exec(sql string, args ...any) {
	f.t.Helper()
	if _, err := f.conn.Exec(f.t.Context(), sql, args...); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
}

// insert inserts n events in one transaction; their ids begin with the name.
func (f *fixture) insert(n int) {
	f.t.Helper()
	f.exec(`insert into walpost.outbox (aggregatetype, aggregateid, type, payload) select 'order', g::text, 'placed', jsonb_build_object('n', g) from generate_series(1, $1) g`, n)
}

// table returns the ids in the outbox, in the order of insertion.
func (f *fixture) table() (ids []string) {
	f.t.Helper()
	rows, err := f.conn.Query(f.t.Context(), "select id::text from walpost.outbox order by ctid")
	if err == nil {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return ids
}

// lsn asks for one position.
func (f *fixture) lsn(sql string) (lsn pglogrepl.LSN) {
	f.t.Helper()
	var text string
	if err := f.conn.QueryRow(f.t.Context(), "select coalesce(("+sql+")::text, '0/0')").Scan(&text); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
	lsn, err := pglogrepl.ParseLSN(text)
	if err != nil {
		f.t.Fatal(err)
	}
	return lsn
}

// confirmed is where the slot stands.
func (f *fixture) confirmed() pglogrepl.LSN {
	f.t.Helper()
	return f.lsn("select confirmed_flush_lsn from pg_replication_slots where slot_name = '" + f.cfg.Slot + "'")
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
	f.t.Helper()
	r := f.launch()
	r.await("the relay leads", func() bool { return r.relay.State().Role == Leader })
	return r
}

// launch starts a relay.
func (f *fixture) launch() *running {
	f.t.Helper()
	cfg := f.cfg
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	relay, err := New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{fixture: f, relay: relay, registry: registry, cancel: cancel, ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		r.ended <- relay.Run(ctx)
		close(done)
	}()
	f.t.Cleanup(func() { cancel(); <-done })
	return r
}

// stop ends a relay as SIGTERM does.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := r.wait(); err != nil {
		r.t.Fatalf("the relay ended: %v", err)
	}
}

func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		r.t.Fatal("the relay does not end")
		return nil
	}
}

// mustRun fails the test if the relay has ended.
func (r *running) mustRun() {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.t.Fatalf("the relay ended: %v", err)
	default:
	}
}

// await waits for a fact about a relay that goes on running.
func (r *running) await(what string, fact func() bool) {
	r.t.Helper()
	until(r.t, what, func() bool { r.mustRun(); return fact() })
}

// wantPermanent checks how a relay ended: for good, with these words, on one line.
func wantPermanent(t *testing.T, err error, want []string) {
	t.Helper()
	if err == nil || !pgerror.IsPermanent(err) {
		t.Fatalf("ended with %v", err)
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than a line", err)
	}
}
