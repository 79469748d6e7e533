// Package poll waits for conditions that can only be found out by asking again and again.
package poll

import (
	"context"
	"time"
)

// Until calls ask every 20 ms, as [Every] does.
func Until(ctx context.Context, ask func() (done bool, err error)) error {
	return Every(ctx, 20*time.Millisecond, ask)
}

// Every calls ask, with a pause between two calls, until it returns true or an error. If ctx ends first, Every returns the cause of that.
func Every(ctx context.Context, pause time.Duration, ask func() (done bool, err error)) error {
	ticks := time.NewTicker(pause)
	defer ticks.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticks.C:
		}
	}
}
