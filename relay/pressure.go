package relay

// pressure is how near Postgres is to giving the slot up for the WAL that it keeps.
type pressure uint8

const (
	eased      pressure = iota
	scarce              // three quarters of max_slot_wal_keep_size are used
	unreserved          // all of it: the next checkpoint may remove what the slot needs
	gone                // it has
)

// of tells the pressure on a slot, which was before what it was.
func (before pressure) of(s *slotRow) pressure {
	if s == nil {
		return eased
	}
	limit := s.safe + s.retained
	switch {
	case s.lost:
		return gone
	case s.status == "unreserved":
		return unreserved
	case s.safe >= 0 && s.safe < limit/4, s.safe >= 0 && s.safe < limit/2 && before >= scarce:
		return scarce
	}
	return eased
}

// warn tells of a slot that Postgres will give up, once for each change, and not for each relay that stands by.
func (w *watcher) warn(s *slotRow) {
	before, r := w.pressure, w.relay
	if r.status.get().Role == Standby {
		w.pressure = eased
		return
	}
	w.pressure = before.of(s)
	const cure = "find out why events are not acked, or raise the limit: ALTER SYSTEM SET max_slot_wal_keep_size = '...', then SELECT pg_reload_conf()"
	switch {
	case w.pressure == before:
	case w.pressure == eased:
		r.log.Info("the slot is out of danger", "slot", r.cfg.Slot)
	case w.pressure == scarce && before == eased:
		r.log.Warn("the slot keeps WAL, and Postgres will give it up when it has to keep more", "slot", r.cfg.Slot,
			"retained_bytes", s.retained, "safe_bytes", s.safe, "wal_status", s.status, "cure", cure)
	case w.pressure == unreserved:
		r.log.Error("the slot keeps more WAL than max_slot_wal_keep_size, and the next checkpoint may cost it", "slot", r.cfg.Slot,
			"retained_bytes", s.retained, "wal_status", s.status, "cure", cure)
	case w.pressure == gone:
		r.log.Error("the slot is lost: Postgres removed WAL that it needed", "slot", r.cfg.Slot, "reason", s.reason)
	}
}
