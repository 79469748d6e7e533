//go:build !race

package relay

import "testing"

// TestReadAllocates: the session allocates nothing per event or transaction.
func TestReadAllocates(t *testing.T) {
	data := streamOf(20_000, 1)
	few := testing.AllocsPerRun(3, func() { benchSession(t, data, 20_000) })
	many := testing.AllocsPerRun(3, func() { benchSession(t, data, 400_000) })
	if perEvent := (many - few) / 380_000; perEvent > 0.001 {
		t.Errorf("%.4f allocations per event", perEvent)
	}
}
