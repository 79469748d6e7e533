package postgres

// Pressure is how close Postgres is to invalidating the slot because of the WAL that it keeps.
type Pressure uint8

// The levels of pressure, lowest first.
const (
	PressureNone       Pressure = iota
	PressureHigh                // more than three quarters of max_slot_wal_keep_size are used
	PressureUnreserved          // all of it is used: the next checkpoint may remove WAL that the slot needs
	PressureLost                // Postgres has removed such WAL
)

// Next returns the pressure on s, a slot on which the pressure was before; nil: there is no slot. High pressure ends only when less than
// half of the limit is used, so that it does not alternate.
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
