package e2e

import (
	"context"
	"net/http"
	"syscall"
	"testing"
	"time"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// SIGTERM while Kafka is down: the relay exits with 0 after the time-out, and
// events that were not acked stay in the slot.
func TestStopDuringKafkaOutage(t *testing.T) {
	t.Parallel() // mostly waiting
	kafka := kafkatest.Start(t, kafkatest.Options{})
	p := pipeOn(t, pgtest.New(t), kafka.Brokers()).withSchema(t)
	topic := p.topic(t, "order", 4, nil)
	const timeout = 3 * time.Second
	r := p.start(t, "WALPOST_RELAY_SHUTDOWN_TIMEOUT=3s")
	truth, client := newOracle(t, p), p.client(t)
	load := startLoad(t, p, 4, 500)
	p.awaitMore(t, client, topic, 200)
	if err := kafka.Kill(1); err != nil {
		t.Fatal(err)
	}
	// The relay reports that events wait for an ack.
	eventually(t, "unready while events wait", func() string {
		status, _, err := r.get("/readyz")
		if err != nil || status != http.StatusServiceUnavailable {
			return "still ready"
		}
		return ""
	})
	if status, _, err := r.get("/livez"); err != nil || status != http.StatusOK {
		t.Errorf("/livez in an outage: %d, %v", status, err)
	}
	load.stop(t)

	begin := time.Now()
	r.stop(t)
	if took := time.Since(begin); took < timeout-time.Second/2 {
		t.Errorf("it ended after %v, with unacked events and a time-out of %v", took, timeout)
	} else if took > timeout+20*time.Second {
		t.Errorf("it ended after %v; the time-out is %v", took, timeout)
	}

	if err := kafka.StartNode(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	r = p.start(t)
	p.settle(t)
	r.stop(t)
	rows := truth.rows(t)
	t.Logf("%d rows, %d sent again", len(rows), p.atLeastOnce(t, topic, rows))
}

// A second signal ends the relay at once, whatever the time-out is.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t) // without a topic the event cannot be acked
	r := p.start(t, "WALPOST_RELAY_SHUTDOWN_TIMEOUT=10m")
	truth := newOracle(t, p)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'waits')")
	r.awaitMetric(t, "walpost_inflight_events", 1)
	r.signal(t, syscall.SIGTERM)
	eventually(t, "it leaves at a second signal", func() string {
		// Signals that come together may count as one, so the test sends more.
		if r.Signal(syscall.SIGINT) != nil {
			return ""
		}
		return "it runs"
	})
	if code := r.exit(t); code != 130 {
		t.Errorf("exit %d", code)
	}

	topic := p.topic(t, "order", 1, nil)
	r = p.start(t)
	p.settle(t)
	r.stop(t)
	p.exactlyOnce(t, topic, truth.rows(t))
}

// The relay is killed and started again during an outage. Everything arrives by
// itself when the broker is back.
func TestKafkaOutage(t *testing.T) {
	t.Parallel() // mostly waiting
	kafka := kafkatest.Start(t, kafkatest.Options{})
	p := pipeOn(t, pgtest.New(t), kafka.Brokers()).withSchema(t)
	topic := p.topic(t, "order", 4, nil)
	r := p.start(t)
	truth, client := newOracle(t, p), p.client(t)
	load := startLoad(t, p, 4, 300)
	p.awaitMore(t, client, topic, 200)
	if err := kafka.Kill(1); err != nil {
		t.Fatal(err)
	}
	before := load.committed.Load()
	eventually(t, "rows are committed during the outage", func() string {
		if load.committed.Load() < before+300 {
			return "not yet"
		}
		return ""
	})
	p.awaitReport(t)
	r.kill()
	r = p.launch(t)
	if err := kafka.StartNode(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	p.awaitMore(t, client, topic, 300)
	load.stop(t)
	p.settle(t)
	r.awaitReady(t, "leader")
	r.stop(t)
	rows := truth.rows(t)
	t.Logf("%d rows, %d sent again", len(rows), p.atLeastOnce(t, topic, rows))
}

// The relay does not hold up a shutdown of Postgres, whether Kafka is down or
// not, and goes on by itself when the server is back.
func TestPostgresRestart(t *testing.T) {
	t.Parallel() // mostly waiting
	server := pgtest.Start(t, pgtest.Options{})
	if err := server.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	db := &pgtest.DB{Name: "shop", DSN: server.DSN("shop"), Major: server.Major()}
	p := pipeOn(t, db, kafkatest.Brokers(t)).withSchema(t)
	r := p.start(t)
	truth := newOracle(t, p)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'the topic is not there yet')")
	r.awaitMetric(t, "walpost_inflight_events", 1)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := server.Stop(ctx, pgtest.Fast); err != nil {
		t.Fatalf("the relay holds up the server's shutdown: %v", err)
	}
	r.awaitUnready(t, "")
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.conn, truth.conn = p.connect(t), p.connect(t)
	topic := p.topic(t, "order", 1, nil)
	r.awaitReady(t, "leader")
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'after the restart')")
	p.settle(t)
	r.stop(t)
	p.atLeastOnce(t, topic, truth.rows(t))
}

// A relay that waits for a server ends at once on SIGTERM.
func TestStopWhileWaiting(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"connection refused": {"WALPOST_POSTGRES_URL=postgres://walpost:hidden-word@127.0.0.1:1/shop?sslmode=disable"},
		"unknown host":       {"WALPOST_POSTGRES_URL=postgres://walpost:hidden-word@no-such-host.invalid/shop?sslmode=disable"},
		"no broker":          {"WALPOST_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPipe(t).withSchema(t)
			r := p.launch(t, append(env, "WALPOST_RELAY_SHUTDOWN_TIMEOUT=10m")...)
			r.awaitUnready(t, "")
			if status, _, err := r.get("/livez"); err != nil || status != http.StatusOK {
				t.Errorf("/livez: %d, %v", status, err)
			}
			// The log names the address that does not answer.
			r.awaitOutput(t, map[string]string{"connection refused": "127.0.0.1:1", "unknown host": "no-such-host.invalid", "no broker": "127.0.0.1:1"}[name])
			r.stop(t)
			noSecret(t, r.output())
		})
	}
}
