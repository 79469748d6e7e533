package main

import (
	"strings"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	runs := []drained{{Rows: 3000, Seconds: 1}, {Rows: 1000, Seconds: 1}, {Rows: 4000, Seconds: 2}}
	if median, low, high := spread(runs, drained.rate); median != 2 || low != 1 || high != 3 {
		t.Errorf("median %v, %v to %v", median, low, high)
	}
	if even := middle([]float64{4, 1, 3, 2}); even != 2.5 {
		t.Errorf("the middle of four is %v", even)
	}
}

func TestQuantiles(t *testing.T) {
	var all []stamps
	begin := time.Now()
	for i := range 1000 { // the slowest first
		all = append(all, stamps{committed: begin, seen: begin.Add(time.Duration(1000-i) * time.Millisecond)})
	}
	q := quantilesOf(all, func(s stamps) time.Duration { return s.seen.Sub(s.committed) })
	if want := (quantiles{P50: 501, P90: 901, P99: 991, P999: 1000, Max: 1000}); q != want {
		t.Errorf("%+v, want %+v", q, want)
	}
}

// Ratios compare runs of the same round, and there are none without
// pg_recvlogical.
func TestRatios(t *testing.T) {
	c := comparison{
		Walpost:     []drained{{Rows: 1000, Seconds: 1, Reader: 1, Walsender: 3}, {Rows: 1000, Seconds: 2, Reader: 1, Walsender: 3}},
		Recvlogical: []drained{{Rows: 1000, Seconds: 2, Reader: 4, Walsender: 12}, {Rows: 1000, Seconds: 8, Reader: 4, Walsender: 12}},
	}
	var with, without strings.Builder
	c.ratios(&with)
	for _, part := range []string{"2.40 × pg_recvlogical (rounds: 2.00–4.00)", "together: 0.25 ×"} {
		if !strings.Contains(with.String(), part) {
			t.Errorf("%q has no %q", with.String(), part)
		}
	}
	c.Recvlogical = nil
	if c.ratios(&without); strings.Contains(without.String(), "×") {
		t.Errorf("a ratio without pg_recvlogical: %q", without.String())
	}
}

// In the comparison with another binary, each figure is the median of the pairs.
func TestPairs(t *testing.T) {
	c := comparison{
		Walpost: []drained{{Rows: 1000, Seconds: 1, Reader: 2, PeakRSS: 30}, {Rows: 1000, Seconds: 2, Reader: 2, PeakRSS: 30}, {Rows: 1000, Seconds: 2, Reader: 2, PeakRSS: 30}},
		Other:   []drained{{Rows: 1000, Seconds: 2, Reader: 1, PeakRSS: 60}, {Rows: 1000, Seconds: 1, Reader: 4, PeakRSS: 60}, {Rows: 1000, Seconds: 2, Reader: 2, PeakRSS: 60}},
	}
	var b strings.Builder
	c.ratios(&b)
	for _, part := range []string{"rate 1.000 × (0.50–2.00)", "CPU a row 1.000 × (0.50–2.00)", "peak RSS 0.500 × (0.50–0.50)"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("%q has no %q", b.String(), part)
		}
	}
}

func TestReadStat(t *testing.T) {
	if cpuModel() == "" || busy() == 0 {
		t.Skip("this system has no /proc")
	}
	for begin := time.Now(); cpuOf(1) >= 0 && time.Since(begin) < 50*time.Millisecond; {
	}
	from := look()
	if from.busy < from.ours || from.ours == 0 {
		t.Errorf("the machine was busy for %v, and this process for %v of it", from.busy, from.ours)
	}
}
