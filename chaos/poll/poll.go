// Package poll waits for what nobody tells of.
package poll

import (
	"context"
	"time"
)

// Until asks every 20 ms until done, or an error. Its error is the cause of
// ctx's end when that comes first.
func Until(ctx context.Context, ask func() (done bool, err error)) error {
	ticks := time.NewTicker(20 * time.Millisecond)
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
