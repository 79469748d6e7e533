package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/long"
	"walpost/internal/testenv/proxy"
)

// address returns a database's URL with another host and more parameters.
func address(t testing.TB, dsn, hosts string, more ...string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		t.Fatalf("%s has to hold a URL for this test", pgtest.Variable)
	}
	query := u.Query()
	for _, pair := range more {
		name, value, _ := strings.Cut(pair, "=")
		query.Set(name, value)
	}
	// libpq does not decode a plus sign as a space.
	u.Host, u.RawQuery = hosts, strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}

// hostOf returns the host and port of a URL.
func hostOf(t testing.TB, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// breaks are the ways in which a session breaks, and how soon everything that is
// committed by then has to be in Kafka and confirmed. walpost disconnects from a
// server that is silent for postgres.silence and does not work.
var breaks = []struct {
	name   string
	params []string
	hosts  string // hosts of the URL if it is not only the proxy; %s is the proxy
	do     func(t *testing.T, p *pipe, way *proxy.Proxy)
	within time.Duration
	says   string
}{
	{"the server ends it", []string{"target_session_attrs=read-write"}, "127.0.0.1:1,%s", terminate, 2 * time.Second, ""},
	{"reset", []string{"options=-c wal_sender_timeout=1min"}, "%s", cut, 2 * time.Second, ""},
	{"nothing comes", []string{"wal_sender_timeout=3s"}, "%s", stall(false, true), 9 * time.Second, "sent nothing for"},
	{"nothing goes", []string{"options=-c wal_sender_timeout=3s"}, "%s", stall(true, false), 6 * time.Second, ""},
	{"half open, no time-out", []string{"wal_sender_timeout=0"}, "%s", stall(true, true), 9 * time.Second, "sent nothing for"},
}

func terminate(t *testing.T, p *pipe, _ *proxy.Proxy) {
	p.exec(t, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '"+p.db.Name+"'")
}

func cut(_ *testing.T, _ *pipe, way *proxy.Proxy) { way.Cut() }

func stall(up, down bool) func(*testing.T, *pipe, *proxy.Proxy) {
	return func(_ *testing.T, _ *pipe, way *proxy.Proxy) { way.Stall(up, down) }
}

// slack is added to a time limit for the sake of busy machines.
const slack = 15 * time.Second

// However a session breaks, the relay notices by itself and goes on. The
// walsender of the broken session does not keep it from the slot.
func TestBrokenSessions(t *testing.T) {
	t.Parallel()
	for _, c := range breaks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // mostly waiting
			p := newPipe(t).withSchema(t)
			way := proxy.Start(t, hostOf(t, p.db.DSN))
			topic := p.topic(t, "order", 2, nil)
			r := p.start(t, "WALPOST_POSTGRES_SILENCE=3s", "WALPOST_POSTGRES_URL="+address(t, p.db.DSN, fmt.Sprintf(c.hosts, way.Address()), c.params...))
			truth := newOracle(t, p)
			p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', 'k'||i, 'before' FROM generate_series(1, 20) i")
			p.settle(t)
			c.do(t, p, way)
			began := time.Now()
			p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', 'k'||i, 'since' FROM generate_series(1, 20) i")
			p.settle(t)
			if took := time.Since(began); took > c.within+slack {
				t.Errorf("delivered and confirmed only %v after the session broke", took)
			} else {
				t.Logf("delivered and confirmed %v after the session broke", took.Round(time.Millisecond))
			}
			r.awaitReady(t, "leader")
			if n := r.metrics(t)[`walpost_reconnects_total{target="postgres"}`]; n < 1 {
				t.Errorf("%v reconnects", n)
			}
			if got := r.output(); !strings.Contains(got, c.says) {
				t.Errorf("the log has no %q", c.says)
			}
			r.stop(t)
			t.Logf("%d sent again", p.atLeastOnce(t, topic, truth.rows(t)))
		})
	}
}

// A relay connects again as soon as a server is back after a restart or a crash.
func TestPostgresIsBack(t *testing.T) {
	t.Parallel() // mostly waiting
	server := pgtest.Start(t, pgtest.Options{Major: pgtest.NewestMajor})
	if err := server.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	p := pipeOn(t, &pgtest.DB{Name: "shop", DSN: server.DSN("shop"), Major: server.Major()}, kafkatest.Brokers(t)).withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	r := p.start(t)
	truth, client := newOracle(t, p), p.client(t)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'before')")
	p.settle(t)
	for name, stop := range map[string]func() error{
		"fast":      func() error { return server.Stop(t.Context(), pgtest.Fast) },
		"immediate": func() error { return server.Stop(t.Context(), pgtest.Immediate) },
		"kill -9":   func() error { server.Kill(); return nil },
	} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		// Long enough for the pauses to grow to their maximum.
		eventually(t, "the relay has tried for a while", func() string {
			if n := r.metrics(t)[`walpost_retries_total{target="postgres"}`]; n < 6 {
				return fmt.Sprintf("%v attempts", n)
			}
			return ""
		})
		r.awaitUnready(t, strconv.Itoa(server.Port()))
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		p.conn = p.connect(t)
		size := p.size(t, client, topic)
		p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'after')")
		p.awaitSize(t, client, topic, size+1)
		if took := time.Since(began); took > 2*time.Second+slack {
			t.Errorf("%s: delivering %v after the server was back", name, took)
		} else {
			t.Logf("%s: delivering %v after the server was back", name, took.Round(time.Millisecond))
		}
		r.awaitReady(t, "leader")
	}
	truth.conn = p.connect(t)
	p.settle(t)
	r.stop(t)
	t.Logf("%d sent again", p.atLeastOnce(t, topic, truth.rows(t)))
}

// After a change of the password, the present session goes on. The next session
// waits until the password file has the new password. No event is lost.
func TestPasswordRotated(t *testing.T) {
	t.Parallel() // mostly waiting
	server := pgtest.Start(t, pgtest.Options{
		Settings: map[string]string{"password_encryption": "scram-sha-256"},
		HBA:      []string{"host all relay 127.0.0.1/32 scram-sha-256"},
	})
	if err := server.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	p := pipeOn(t, &pgtest.DB{Name: "shop", DSN: server.DSN("shop"), Major: server.Major()}, kafkatest.Brokers(t))
	p.exec(t, "CREATE ROLE relay LOGIN PASSWORD 'hidden-word'")
	p.withSchema(t, "--relay-role", "relay")
	topic := p.topic(t, "order", 1, nil)
	passfile := filepath.Join(t.TempDir(), "pgpass")
	password := func(word string) {
		t.Helper()
		fresh := passfile + ".new"
		if err := os.WriteFile(fresh, []byte("*:*:*:relay:"+word+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(fresh, passfile); err != nil {
			t.Fatal(err)
		}
	}
	password("hidden-word")
	r := p.start(t, fmt.Sprintf("WALPOST_POSTGRES_URL=postgres://relay@127.0.0.1:%d/shop?sslmode=disable&passfile=%s", server.Port(), url.QueryEscape(passfile)))
	truth := newOracle(t, p)
	p.exec(t, "ALTER ROLE relay PASSWORD 'hidden-word-of-now'", "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'by the old session')")
	p.settle(t)
	terminate(t, p, nil)
	r.awaitUnready(t, "password authentication failed")
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'meanwhile')")
	password("hidden-word-of-now")
	r.awaitReady(t, "leader")
	p.settle(t)
	r.stop(t)
	noSecret(t, r.output())
	p.exactlyOnce(t, topic, truth.rows(t))
}

// A short life of a relay on each version: a backfill, a session that is ended,
// a clean stop. Other tests show each of these on the server of the run.
func TestMajors(t *testing.T) {
	t.Parallel()
	long.Only(t)
	for major := pgtest.OldestMajor; major <= pgtest.NewestMajor; major++ {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel() // mostly waiting
			p := pipeOn(t, pgtest.NewMajor(t, major), kafkatest.Brokers(t)).withSchema(t)
			topic := p.topic(t, "order", 2, nil)
			p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', 'k'||i, 'old' FROM generate_series(1, 50) i")
			r := p.start(t)
			truth := newOracle(t, p)
			for range 2 {
				p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', 'k'||i, 'new' FROM generate_series(1, 50) i")
				p.settle(t)
				terminate(t, p, nil)
			}
			p.exec(t, "BEGIN", "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'brief')", "DELETE FROM walpost.outbox WHERE type = 'brief'", "COMMIT")
			p.settle(t)
			r.stop(t)
			ids := map[string]bool{}
			for _, record := range flat(p.read(t, topic)) {
				ids[*headers(t, record)["id"]] = true
			}
			for _, row := range truth.rows(t) {
				if !ids[row.get("id")] {
					t.Errorf("event %s (%s) is missing", row.get("id"), row.get("type"))
				}
			}
			if len(ids) != 151 {
				t.Errorf("%d different events, not 151", len(ids))
			}
		})
	}
}
