package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walpost/internal/testenv/poll"
)

// clockOfRelay is a fault that needs another binary, which is built before the round.
const clockOfRelay = "clock of the relay: two hours ahead, then behind, then right"

// relayOff is how wrong that clock is.
const relayOff = 2 * time.Hour

func clockFaults() []fault {
	return []fault{
		{clockOfRelay, 10, 0, func(ctx context.Context, r *round) error {
			program, err := r.jumping(ctx)
			if err != nil {
				return err
			}
			if err := r.setClock(0); err != nil {
				return err
			}
			if err := r.restart(ctx, program, clockVariable+"="+r.home.Path("clock")); err != nil {
				return err
			}
			for _, ahead := range []time.Duration{relayOff, -relayOff, 0} {
				if err := errors.Join(r.setClock(ahead), r.awaitClock(ctx, ahead), r.awaitMore(ctx)); err != nil {
					return err
				}
			}
			return r.restart(ctx, r.walpost)
		}},
	}
}

// restart stops the relay and starts another program in its place, with more environment variables.
func (r *round) restart(ctx context.Context, program string, env ...string) error {
	if err := r.relay.stop(ctx); err != nil {
		return fmt.Errorf("restart the relay: %w", err)
	}
	return r.relay.replace(program, env...)
}

// awaitClock waits until the relay's clock is that far ahead.
func (r *round) awaitClock(ctx context.Context, ahead time.Duration) error {
	return poll.Until(ctx, func() (bool, error) {
		at, err := r.relay.clock(ctx)
		return err == nil && (at-ahead).Abs() < time.Minute, nil
	})
}
