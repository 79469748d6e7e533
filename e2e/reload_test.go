package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// Passwords and certificates are rotated while a relay runs, in every place
// where they can be configured. Between the change on a server and the change of
// the file, the relay's login is refused: it waits and reports that.
func TestRotation(t *testing.T) {
	t.Parallel() // mostly waiting
	l := newLogin(t, "rotated")
	orders := l.topic(t, "order", 1, nil)
	l.grant(t, orders)
	truth := newOracle(t, l.pipe)
	put := func(name, text string) {
		t.Helper()
		if _, err := l.home.WriteFile(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	file := func(more ...string) {
		t.Helper()
		put("walpost.yaml", fmt.Sprintf("kafka:\n  security.protocol: SASL_SSL\n  sasl.mechanism: SCRAM-SHA-512\n  sasl.username: rotated\n  ssl.ca.location: %s\n"+
			"  ssl.certificate.location: %s\n  ssl.key.location: %s\n", l.kafkaCA, l.files.Cert, l.files.Key)+strings.Join(more, "\n")+"\n")
	}
	l.env["WALPOST_KAFKA_BOOTSTRAP_SERVERS"] = l.kafka.Brokers()[0]
	url, word := l.home.Path("url"), l.home.Path("word")
	put("url", l.url("rotated:hidden-word")+"\n")
	put("word", "hidden-word\n")
	file("  sasl.password_file: "+word, "postgres:\n  url_file: "+url)
	r := l.start(t)
	flows := func() {
		t.Helper()
		l.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', 'k'||i, 'x' FROM generate_series(1, 100) i")
		l.settle(t)
	}
	// cut ends the relay's sessions with Postgres. Kafka ends sessions by itself, see sessionLifetime.
	cut := func() {
		t.Helper()
		l.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'")
	}
	flows()

	// Secrets in files of their own: writing the file is enough.
	l.exec(t, "ALTER ROLE rotated PASSWORD 'hidden-word-2'")
	cut()
	r.awaitUnready(t, "password authentication failed")
	put("url", l.url("rotated:hidden-word-2"))
	r.awaitReady(t, "leader")
	l.kafkaPassword(t, "hidden-word-2")
	l.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) SELECT 'order', 'k'||i, 'x' FROM generate_series(1, 100) i")
	l.keepBusy(t, func() bool { return strings.Contains(r.output(), "SASL Authentication failed") })
	r.mustRun(t)
	put("word", "hidden-word-2")
	flows()

	// A new certificate file is used from the next connection on.
	before := l.shown(t)
	renewed := l.certificate(t, "rotated") // in the same files
	if renewed != l.files {
		t.Fatalf("the certificate is in %+v, and was in %+v", renewed, l.files)
	}
	cut()
	eventually(t, "another certificate is shown", func() string {
		if now := l.shown(t); now == "" || now == before {
			return "serial " + now
		}
		return ""
	})
	flows()

	// The configuration file is read on SIGHUP. A password file is for Postgres.
	pgpass := l.home.Path("pgpass")
	put("pgpass", "*:*:*:*:hidden-word-2\n")
	file("  sasl.password: hidden-word-3", "postgres:\n  url: "+l.url("rotated")+"&passfile="+pgpass, "relay:\n  shutdown_timeout: 7s", "log:\n  level: debug")
	l.password(t, "hidden-word-3")
	put("pgpass", "*:*:*:*:hidden-word-3\n")
	r.signal(t, syscall.SIGHUP)
	r.awaitOutput(t, `keys="postgres.url, kafka.sasl.password, log.level"`, "keys=relay.shutdown_timeout")
	cut()
	flows()

	// A wrong file changes nothing.
	put("walpost.yaml", "kafka:\n  sasl.pasword: hidden-word-4\n")
	r.signal(t, syscall.SIGHUP)
	r.awaitOutput(t, "walpost.yaml:2:3", "did you mean kafka.sasl.password?")
	cut()
	flows()
	for _, path := range []string{"/api/status", "/metrics", "/readyz"} {
		_, text, err := r.get(path)
		if err != nil {
			t.Fatal(err)
		}
		noSecret(t, text)
	}
	r.stop(t)
	noSecret(t, r.output())
	l.exactlyOnce(t, orders, truth.rows(t))
}

// keepBusy inserts one row at a time until a condition holds. walpost logs in
// again only while it sends events.
func (l *login) keepBusy(t *testing.T, holds func() bool) {
	t.Helper()
	eventually(t, "what is waited for while rows come", func() string {
		if holds() {
			return ""
		}
		l.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type) VALUES ('order', 'busy', 'x')")
		return "not yet"
	})
}

// shown returns the serial number of the certificate that the relay's stream
// presents to Postgres, "" while there is no stream.
func (l *login) shown(t *testing.T) string {
	t.Helper()
	return ask[string](t, l.conn, `SELECT coalesce((SELECT s.client_serial::text FROM pg_stat_ssl s JOIN pg_replication_slots r ON r.active_pid = s.pid
		WHERE r.slot_name = $1), '')`, l.db.Name)
}
