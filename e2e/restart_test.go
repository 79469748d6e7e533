package e2e

import (
	"fmt"
	"testing"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/long"
)

// Clean stops and starts while rows are committed: no row is missing, and none
// is sent twice.
func TestCleanStopUnderLoad(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			t.Parallel()
			p := pipeOn(t, pgtest.NewMajor(t, major), kafkatest.Brokers(t)).withSchema(t)
			topic := p.topic(t, "order", 4, nil)
			r := p.start(t)
			truth, client := newOracle(t, p), p.client(t)
			load := startLoad(t, p, 4, 500)
			for range 3 {
				p.awaitMore(t, client, topic, 300)
				r.stop(t)
				r = p.start(t)
			}
			load.stop(t)
			p.settle(t)
			r.stop(t)
			p.exactlyOnce(t, topic, truth.rows(t))
		})
	}
}

// An idle relay that is stopped and started sends no event again, whatever the
// database did meanwhile.
func TestCleanStopIdle(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 1, nil)
	r := p.start(t)
	truth := newOracle(t, p)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) SELECT 'order', 'x' FROM generate_series(1, 10)")
	p.settle(t)
	for range 3 {
		r.stop(t)
		p.exec(t, "CREATE TABLE IF NOT EXISTS busy AS SELECT generate_series(1, 1000) AS i", "UPDATE busy SET i = i", "CHECKPOINT")
		r = p.start(t)
		p.settle(t)
	}
	r.stop(t)
	p.exactlyOnce(t, topic, truth.rows(t))
}

// kill -9 while rows are committed: no row is missing, first deliveries keep
// their order, and redeliveries are contiguous runs.
func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 4, nil)
	r := p.start(t)
	truth, client := newOracle(t, p), p.client(t)
	load := startLoad(t, p, 8, 1000)
	kills := long.Or(4, 16)
	for range kills {
		p.awaitMore(t, client, topic, 1500)
		r.kill()
		r = p.start(t)
	}
	transactions := load.stop(t)
	p.settle(t)
	r.stop(t)
	rows := truth.rows(t)
	again := p.atLeastOnce(t, topic, rows)
	t.Logf("%d kills, %d transactions, %d rows, %d sent again", kills, transactions, len(rows), again)
}

// A second relay on the same slot stands by, is ready, and takes over when the
// first one dies.
func TestStandby(t *testing.T) {
	t.Parallel()
	p := newPipe(t).withSchema(t)
	topic := p.topic(t, "order", 2, nil)
	first := p.start(t)
	truth := newOracle(t, p)
	second := p.launch(t)
	second.awaitReady(t, "standby")
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'to the first')")
	p.settle(t)
	first.kill()
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) VALUES ('order', 'to the second')")
	second.awaitReady(t, "leader")
	p.settle(t)

	third := p.launch(t, "WALPOST_RELAY_SHUTDOWN_TIMEOUT=10m")
	third.awaitReady(t, "standby")
	third.stop(t) // it stops at once: the limit of eventually is shorter than the time-out
	second.stop(t)
	p.exactlyOnce(t, topic, truth.rows(t))
}
