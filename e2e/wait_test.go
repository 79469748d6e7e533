package e2e

import (
	"context"
	"testing"
	"time"

	"walpost/internal/testenv/need"
	"walpost/internal/testenv/poll"
)

// patience is how long a test waits for a fact.
var patience = need.Patience()

// eventually waits until check returns "". It calls check every few
// milliseconds, and reports its last result if the time is over.
func eventually(t testing.TB, what string, check func() string) {
	t.Helper()
	within(t, patience, what, check)
}

func within(t testing.TB, limit time.Duration, what string, check func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	missing := ""
	err := poll.Until(ctx, func() (bool, error) {
		missing = check()
		return missing == "", nil
	})
	if err != nil {
		t.Fatalf("%s: not within %v: %s", what, limit, missing)
	}
}
