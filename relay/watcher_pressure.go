package relay

import (
	"walpost/internal/reason"
	"walpost/relay/postgres"
)

// warnOfPressure logs that Postgres is about to invalidate the slot, once for each change of the pressure. A relay that stands by leaves
// that to the leader.
func (w *watcher) warnOfPressure(s *postgres.Slot) {
	before, r := w.pressure, w.relay
	if r.state.get().Role == Standby {
		w.pressure = postgres.PressureNone
		return
	}
	w.pressure = before.Next(s)
	const cure = "find out why events are not acked, or raise the limit: ALTER SYSTEM SET max_slot_wal_keep_size = '...', then SELECT pg_reload_conf()"
	switch {
	case w.pressure == before:
	case w.pressure == postgres.PressureNone:
		r.log.Info("the slot is out of danger", "slot", r.cfg.Slot)
	case w.pressure == postgres.PressureHigh && before == postgres.PressureNone:
		r.log.Warn("the slot keeps much WAL, and Postgres will invalidate it if it has to keep more than max_slot_wal_keep_size", "slot", r.cfg.Slot,
			"retained_bytes", s.Retained, "safe_bytes", s.Safe, "wal_status", s.Status, "cure", cure)
	case w.pressure == postgres.PressureUnreserved:
		r.log.Error("the slot keeps more WAL than max_slot_wal_keep_size, and the next checkpoint may invalidate it", "slot", r.cfg.Slot,
			"retained_bytes", s.Retained, "wal_status", s.Status, "cure", cure)
	case w.pressure == postgres.PressureLost:
		r.log.Error("the slot is lost: Postgres removed WAL that it needed", "slot", r.cfg.Slot, "reason", reason.SlotLost, "invalidation_reason", s.Reason)
	}
}
