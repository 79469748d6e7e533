package slotadmin

import (
	"testing"
	"time"

	"walpost/relay/postgres"
)

// TestRecordedBesides: the error for a slot that does not exist says what is recorded about it.
func TestRecordedBesides(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		r    *Recorded
		want string
	}{
		{nil, ", and no relay has used it"},
		{&Recorded{Phase: postgres.PhaseBackfilling, Confirmed: "0/10"}, ", and its first start did not finish"},
		{&Recorded{Phase: postgres.PhaseStreaming}, ", but walpost has streamed from it: nothing was confirmed yet"},
		{&Recorded{Phase: postgres.PhaseStreaming, Confirmed: "0/10"}, ", but walpost has streamed from it: the last recorded confirmation is 0/10"},
		{&Recorded{Phase: postgres.PhaseStreaming, Confirmed: "0/10", CommitTime: &at},
			", but walpost has streamed from it: the last recorded confirmation is 0/10, committed 2026-01-02T02:04:05Z"},
	} {
		if got := c.r.besides(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.r, got, c.want)
		}
	}
}

// TestHolder: the holder is described as far as it is known.
func TestHolder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		slot Slot
		want string
	}{
		{Slot{PID: 7}, ""},
		{Slot{Active: true, PID: 7}, "server process 7 streams"},
		{Slot{Active: true, PID: 7, Application: "walpost"}, "server process 7 streams to walpost"},
		{Slot{Active: true, PID: 7, Application: "walpost", Address: "10.0.0.1"}, "server process 7 streams to walpost at 10.0.0.1"},
	} {
		if got := c.slot.Holder(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.slot, got, c.want)
		}
	}
}
