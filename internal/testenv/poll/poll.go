// Package poll waits for what nobody tells of.
package poll

import (
	"context"
	"time"
)

// Until is [Every] 20 ms.
func Until(ctx context.Context, ask func() (done bool, err error)) error {
	return Every(ctx, 20*time.Millisecond, ask)
}

// Every asks so often until done, or an error. Its error is the cause of ctx's
// end when that comes first.
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
