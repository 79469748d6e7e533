package relay

import "testing"

// TestPressure: a warning is lifted later than it is given.
func TestPressure(t *testing.T) {
	for _, c := range []struct {
		before Pressure
		slot   *slotRow
		want   Pressure
	}{
		{PressureNone, nil, PressureNone},
		{PressureHigh, nil, PressureNone},
		{PressureNone, &slotRow{Status: "extended", Retained: 1 << 40, Safe: -1}, PressureNone},
		{PressureNone, &slotRow{Status: "reserved", Retained: 70, Safe: 30}, PressureNone},
		{PressureNone, &slotRow{Status: "reserved", Retained: 76, Safe: 24}, PressureHigh},
		{PressureHigh, &slotRow{Status: "reserved", Retained: 70, Safe: 30}, PressureHigh},
		{PressureUnreserved, &slotRow{Status: "reserved", Retained: 70, Safe: 30}, PressureHigh},
		{PressureHigh, &slotRow{Status: "reserved", Retained: 40, Safe: 60}, PressureNone},
		{PressureHigh, &slotRow{Status: "unreserved", Retained: 100, Safe: 0}, PressureUnreserved},
		{PressureUnreserved, &slotRow{Status: "lost", Lost: true, Safe: -1}, PressureLost},
	} {
		if got := c.before.Next(c.slot); got != c.want {
			t.Errorf("from %d by %+v: %d, want %d", c.before, c.slot, got, c.want)
		}
	}
}
