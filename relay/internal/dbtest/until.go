package dbtest

import (
	"testing"
	"time"

	"walpost/internal/testenv/need"
)

// Patience is how long a fact may take.
var Patience = need.Patience()

// Until waits for a fact, for as long as [Patience], and else ends the test.
func Until(t testing.TB, what string, fact func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !fact(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, Patience)
		}
	}
}
