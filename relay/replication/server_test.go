package replication

import (
	"testing"
	"time"
)

// TestStatusPeriod: three statuses fit into wal_sender_timeout and into the allowed silence.
func TestStatusPeriod(t *testing.T) {
	for _, c := range []struct{ timeout, silence, want time.Duration }{
		{0, 15 * time.Second, 5 * time.Second},
		{time.Minute, 15 * time.Second, 5 * time.Second},
		{15 * time.Second, 15 * time.Second, 5 * time.Second},
		{9 * time.Second, 15 * time.Second, 3 * time.Second},
		{time.Second, 15 * time.Second, time.Second / 3},
		{15 * time.Second, time.Hour, 5 * time.Second},
		{15 * time.Second, time.Second, time.Second / 3},
		{0, 9 * time.Second, 3 * time.Second},
	} {
		if got := (&Server{Timeout: c.timeout}).StatusPeriod(c.silence); got != c.want {
			t.Errorf("wal_sender_timeout %v, silence %v: every %v, want %v", c.timeout, c.silence, got, c.want)
		}
	}
}
