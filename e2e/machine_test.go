package e2e

import (
	"testing"
	"time"
)

// rated is the speed of the machine that the figures of the blocked topic are for: with its two cores, services insert, and walpost publishes, so many
// events a second. Autovacuum takes its share besides.
const rated = 32_000

// machineSpeed returns the speed of this machine, as a part of that of the rated machine; at most 1. It publishes events like those of the test, in a
// topic that takes them.
func (p *pipe) machineSpeed(t testing.TB, topic string) float64 {
	t.Helper()
	const batches, batch = 400, 500
	began := time.Now()
	for range batches {
		p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) SELECT '"+topic+"', 'k'||i, i::text, to_jsonb(repeat(md5(i::text), 8)) FROM generate_series(1, 500) i")
	}
	p.settle(t)
	rate := batches * batch / time.Since(began).Seconds()
	speed := min(1, rate/rated)
	t.Logf("this machine inserts and publishes %.0f events a second: the figures are those of a machine with %.2f of the rated speed", rate, speed)
	return speed
}
