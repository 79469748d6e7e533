package dbtest

import (
	"testing"
	"time"

	"walpost/internal/testenv/need"
)

// Patience is how long [Until] waits.
var Patience = need.Patience()

// Until waits for a fact. If it takes longer than [Patience], Until ends the test.
func Until(t testing.TB, what string, fact func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !fact(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, Patience)
		}
	}
}
