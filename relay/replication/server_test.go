package replication

import (
	"testing"
	"time"
)

// TestStatusPeriod: a status goes out three times within wal_sender_timeout.
func TestStatusPeriod(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		0: 5 * time.Second, time.Minute: 5 * time.Second, 15 * time.Second: 5 * time.Second, 9 * time.Second: 3 * time.Second, time.Second: time.Second / 3,
	} {
		if got := (&Server{Timeout: timeout}).StatusPeriod(); got != want {
			t.Errorf("wal_sender_timeout %v: every %v, want %v", timeout, got, want)
		}
	}
}
