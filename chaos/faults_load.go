package main

import (
	"context"
	"time"
)

// loadFaults are caused by services.
func loadFaults() []fault {
	return []fault{
		{"a transaction larger than relay.max_in_flight_bytes", 5, brief, func(ctx context.Context, r *round) error {
			const average = maxPayload / 2
			return r.load.insertBulk(ctx, int(r.budget/average*5/4))
		}},
		// walpost uses created_at as ce_time, and as the record's timestamp.
		{"clock of the services: ten years ahead, then behind", 10, brief, func(ctx context.Context, r *round) error {
			defer r.load.clock.Store(0)
			for _, ahead := range []time.Duration{10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour} {
				r.load.clock.Store(int64(ahead))
				if err := r.hold(ctx, 300*time.Millisecond, 600*time.Millisecond); err != nil {
					return err
				}
			}
			return nil
		}},
	}
}
