package e2e

import (
	"context"
	"testing"
	"time"

	"walpost/internal/testenv/need"
)

// patience is how long a fact may take to become true.
var patience = need.Patience()

// eventually waits until check returns "", which is asked every few
// milliseconds; what it returned last says what is missing.
func eventually(t testing.TB, what string, check func() string) {
	t.Helper()
	within(t, patience, what, check)
}

func within(t testing.TB, limit time.Duration, what string, check func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := check()
		if missing == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %s", what, limit, missing)
		case <-tick.C:
		}
	}
}
