package slotadmin

import (
	"testing"

	"walpost/relay/internal/dbtest"
)

// TestLockIsGivenBack: when a command has returned, the next one gets the lock at once.
func TestLockIsGivenBack(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	for range 100 {
		c := newCommand(db.Config())
		if err := c.open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.close()
	}
}
