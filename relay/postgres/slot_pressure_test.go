package postgres

import "testing"

// TestPressure: the pressure falls at a lower level than it rises, so that warnings do not alternate.
func TestPressure(t *testing.T) {
	for _, c := range []struct {
		before Pressure
		slot   *Slot
		want   Pressure
	}{
		{PressureNone, nil, PressureNone},
		{PressureHigh, nil, PressureNone},
		{PressureNone, &Slot{Status: "extended", Retained: 1 << 40, Safe: -1}, PressureNone},
		{PressureNone, &Slot{Status: "reserved", Retained: 70, Safe: 30}, PressureNone},
		{PressureNone, &Slot{Status: "reserved", Retained: 76, Safe: 24}, PressureHigh},
		{PressureHigh, &Slot{Status: "reserved", Retained: 70, Safe: 30}, PressureHigh},
		{PressureUnreserved, &Slot{Status: "reserved", Retained: 70, Safe: 30}, PressureHigh},
		{PressureHigh, &Slot{Status: "reserved", Retained: 40, Safe: 60}, PressureNone},
		{PressureHigh, &Slot{Status: "unreserved", Retained: 100, Safe: 0}, PressureUnreserved},
		{PressureUnreserved, &Slot{Status: "lost", Lost: true, Safe: -1}, PressureLost},
	} {
		if got := c.before.Next(c.slot); got != c.want {
			t.Errorf("from %d by %+v: %d, want %d", c.before, c.slot, got, c.want)
		}
	}
}
