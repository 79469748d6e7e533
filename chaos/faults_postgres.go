package main

import (
	"context"
	"time"

	"walpost/internal/pgtest"
)

// Names of faults that also come during an outage of Kafka.
const (
	cutPostgres   = "Postgres: the relay's connections cut"
	crashed       = "Postgres: crash (immediate stop)"
	restartedFast = "Postgres: fast restart"
)

func postgresFaults() []fault {
	return []fault{
		{cutPostgres, 170, brief | repeats, func(ctx context.Context, r *round) error {
			r.toPG.Cut()
			return nil
		}},
		{"Postgres: half-open connections", 10, repeats, stalled(true, true)},
		{"Postgres: connections stalled towards the server", 10, repeats, stalled(true, false)},
		{"Postgres: connections stalled towards the relay", 10, repeats, stalled(false, true)},
		{crashed, 30, brief | repeats, restarted(pgtest.Immediate)},
		{restartedFast, 25, brief | repeats, restarted(pgtest.Fast)},
	}
}

// stalled stalls the connections until the relay has noticed and recovered. Then it cuts them, because nothing else ends them.
func stalled(up, down bool) func(ctx context.Context, r *round) error {
	return func(ctx context.Context, r *round) error {
		r.toPG.Stall(up, down)
		err := r.awaitMore(ctx)
		r.toPG.Cut()
		return err
	}
}

func restarted(mode pgtest.Mode) func(ctx context.Context, r *round) error {
	return func(ctx context.Context, r *round) error {
		limit, cancel := context.WithTimeout(ctx, 10*time.Second) // a relay must not hold up a server that shuts down
		defer cancel()
		if err := r.postgres.Stop(limit, mode); err != nil {
			r.stuck = append(r.stuck, "Postgres does not shut down: "+err.Error())
			r.postgres.Kill()
		}
		if r.r.IntN(2) == 0 {
			if err := r.hold(ctx, 0, 2*time.Second); err != nil {
				return err
			}
		}
		return r.postgres.Start(ctx)
	}
}
