package postgres

// Pressure is how near Postgres is to giving the slot up for the WAL that it keeps.
type Pressure uint8

// The levels of pressure, the least first.
const (
	PressureNone       Pressure = iota
	PressureHigh                // three quarters of max_slot_wal_keep_size are used
	PressureUnreserved          // all of it: the next checkpoint may remove what the slot needs
	PressureLost                // it has
)

// Next returns the pressure on a slot that was under pressure before; nil: there is no slot. It falls later than it rises.
func (before Pressure) Next(s *Slot) Pressure {
	if s == nil {
		return PressureNone
	}
	limit := s.Safe + s.Retained
	switch {
	case s.Lost:
		return PressureLost
	case s.Status == "unreserved":
		return PressureUnreserved
	case s.Safe >= 0 && s.Safe < limit/4, s.Safe >= 0 && s.Safe < limit/2 && before >= PressureHigh:
		return PressureHigh
	}
	return PressureNone
}
