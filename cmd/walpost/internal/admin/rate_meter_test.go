package admin

import (
	"testing"
	"time"
)

func TestRateMeter(t *testing.T) {
	var m rateMeter
	start := time.Unix(1_800_000_000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	expect := func(now int, count int64, last time.Duration, want float64) {
		t.Helper()
		if got := m.rate(at(now), count, last); got != want {
			t.Errorf("at %d, over %s: %v, want %v", now, last, got, want)
		}
	}
	expect(0, 5, time.Minute, 0)
	m.add(at(0), 0)
	expect(0, 0, time.Minute, 0)
	expect(2, 10, 10*time.Second, 5) // fewer than ten seconds
	count := int64(0)
	for s := 1; s <= 200; s++ {
		if s <= 190 {
			count += 10
		} else {
			count += 100
		}
		m.add(at(s), count)
	}
	expect(200, count, 10*time.Second, 100)
	expect(200, count, time.Minute, (50*10+10*100)/60.0)
	expect(300, count, 10*time.Second, 0) // it has had no sample for a long time
}
