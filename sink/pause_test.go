package sink

import "testing"

func TestBackoffGrowsToItsMost(t *testing.T) {
	for tries := 1; tries < 100; tries++ {
		most := maxBackoff
		if tries < 10 {
			most = min(minBackoff<<(tries-1), maxBackoff)
		}
		if d := pauseAfter(tries); d > most || d < most*3/4 {
			t.Errorf("attempt %d: %v, want %v at most", tries, d, most)
		}
	}
}
