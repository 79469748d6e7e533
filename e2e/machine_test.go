package e2e

import (
	"testing"
	"time"
)

// rated is the machine that the figures are for: its Postgres inserts so many rows a second over one connection, while nothing else runs. The two
// cores of such a machine also insert, decode, park and publish 12,000 events a second.
const rated = 30_000

// machineSpeed returns the speed of this machine's Postgres, as a part of that of the rated machine; at most 1. It inserts rows like those of the
// test, into a table of its own.
func machineSpeed(t testing.TB, p *pipe) float64 {
	t.Helper()
	const batches, batch = 200, 500
	p.exec(t, "CREATE TABLE speed (LIKE walpost.outbox INCLUDING ALL)")
	began := time.Now()
	for range batches {
		p.exec(t, "INSERT INTO speed (aggregatetype, aggregateid, type, payload) SELECT 'blocked', 'k'||i, i::text, to_jsonb(repeat(md5(i::text), 8)) FROM generate_series(1, 500) i")
	}
	rate := batches * batch / time.Since(began).Seconds()
	p.exec(t, "DROP TABLE speed")
	speed := min(1, rate/rated)
	t.Logf("Postgres inserts %.0f rows a second here: the figures are those of a machine with %.2f of the rated speed", rate, speed)
	return speed
}
