package record

import (
	"testing"
	"time"
)

const layout = "2006-01-02T15:04:05.000000Z"

// Limits of what RFC 3339 expresses, in microseconds.
var (
	firstInstant = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	lastInstant  = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro()
)

func checkInstant(t *testing.T, us int64) {
	t.Helper()
	if got, want := string(appendInstant(nil, us)), time.UnixMicro(us).UTC().Format(layout); got != want {
		t.Errorf("%d µs: %s, want %s", us, got, want)
	}
}

// Every day of a calendar's cycle of 400 years, and days of all years from 1 to 9999, at their first and last microsecond.
func TestInstantOfManyDays(t *testing.T) {
	const day = 86_400 * micros
	check := func(from, to, step int64) {
		for us := from; us+day-1 <= to && !t.Failed(); us += step {
			checkInstant(t, us)
			checkInstant(t, us+day-1)
		}
	}
	check(time.Date(1850, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), time.Date(2250, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), day)
	check(firstInstant, lastInstant, 97*day)
	checkInstant(t, lastInstant)
}

func FuzzInstant(f *testing.F) {
	for _, us := range []int64{0, -1, 1, 999_999, -999_999, 951_782_399_999_999, 951_782_400_000_000, 4_107_542_400_000_000, firstInstant, lastInstant} {
		f.Add(us)
	}
	f.Fuzz(func(t *testing.T, us int64) {
		span := lastInstant - firstInstant + 1
		us = firstInstant + (us%span+span)%span
		checkInstant(t, us)
	})
}

// A text that is reused for the next instant has the right time, whether the second is the same or not.
func TestInstantsInARow(t *testing.T) {
	var text instant
	now := time.Date(2026, 2, 28, 23, 59, 58, 0, time.UTC).UnixMicro()
	for _, step := range []int64{0, 1, 999_999, 0, -1, 1, micros, -micros, 40 * micros, 7, -90_000 * micros, 12_345, -now, -1, 1} {
		now += step
		if got, want := string(text.of(now)), time.UnixMicro(now).UTC().Format(layout); got != want {
			t.Errorf("%d µs: %s, want %s", now, got, want)
		}
	}
}
