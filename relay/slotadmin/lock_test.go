package slotadmin

import (
	"testing"

	"walpost/relay/internal/dbtest"
)

// TestLockIsGivenBack: what a verb kept away may begin as soon as the verb has returned.
func TestLockIsGivenBack(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	for range 100 {
		v := newVerb(db.Config())
		if err := v.open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := v.lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		v.close()
	}
}
