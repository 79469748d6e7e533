package tail

import (
	"strings"
	"testing"
	"time"

	"walpost/relay/postgres"
)

// TestStuck: an output that accepts nothing for a minute ends the tail.
func TestStuck(t *testing.T) {
	t.Parallel()
	stuck := &tail{Source: postgres.NewSource(postgres.Config{})}
	stuck.busy.Store(time.Now().Add(-outputTimeout - time.Second).UnixNano())
	if err := stuck.stuck(t.Context()); err == nil || !strings.Contains(err.Error(), "the output has accepted nothing for 1m1s") {
		t.Errorf("after a minute: %v", err)
	}
}
