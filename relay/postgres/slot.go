package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// Slot is a slot as pg_replication_slots showed it at one moment.
type Slot struct {
	plugin, kind, database string
	Foreign                bool // it belongs to another database than the connection's
	Active                 bool
	PID                    int32
	Confirmed              string // confirmed_flush_lsn
	beyond                 bool   // confirmed_flush_lsn is beyond the end of the server's WAL
	ahead                  bool   // confirmed_flush_lsn is beyond the position recorded at a clean stop
	twoPhase               bool   // it sends transactions as soon as they are prepared: an option at its creation, since 15
	Lost                   bool
	Status                 string    // wal_status
	Reason                 string    // why it is lost, since 17
	Retained               int64     // bytes of WAL that it keeps
	Safe                   int64     // bytes of WAL that may still be written before Postgres invalidates it; -1: no limit
	Seen                   time.Time // when this was read, by the server's clock
	HeldBy                 string    // the slots in synchronized_standby_slots that are missing or that no standby uses; "": none, or the slot does not fail over
}

// State returns what a status page shows of the slot. For a nil slot, that is only when it was read.
func (s *Slot) State() SlotState {
	if s == nil {
		return SlotState{Seen: time.Now(), SafeBytes: -1}
	}
	return SlotState{Seen: time.Now(), Active: s.Active, WALStatus: s.Status, RetainedBytes: s.Retained, SafeBytes: s.Safe, ConfirmedFlush: s.Confirmed}
}

// SlotState is the state of the slot as the relay last read it; it reads it every ten seconds.
type SlotState struct {
	Seen           time.Time // when the slot was read; zero: not yet, and the other fields mean nothing
	Active         bool      // this or another relay streams from it
	WALStatus      string    // pg_replication_slots.wal_status: reserved, extended, unreserved or lost; "": there is no slot
	RetainedBytes  int64     // WAL that the slot keeps
	SafeBytes      int64     // WAL that can still be written before Postgres may invalidate the slot; -1: no limit
	ConfirmedFlush string    // confirmed_flush_lsn: everything before it is confirmed
}

// Held returns that Postgres sends nothing, because it waits for standbys, and what to do; "" if it does not. It is asked only for a slot
// that fails over, since 17.
func (s *Slot) Held() (why, cure string) {
	if s.HeldBy == "" {
		return "", ""
	}
	return "Postgres holds back events until standbys have them, and no standby uses " + s.HeldBy + " of synchronized_standby_slots",
		"start the standby; or, if it is gone for good, name those that exist: ALTER SYSTEM SET synchronized_standby_slots = '...', then SELECT pg_reload_conf()"
}

// lostError returns an error which says that Postgres has invalidated the slot, and why.
func (s *Slot) lostError(name string) error {
	if s.Reason == "" {
		return fmt.Errorf("slot %s: wal_status is lost", name)
	}
	return fmt.Errorf("slot %s: wal_status is lost (%s)", name, s.Reason)
}

// LostSlot returns the fault of a slot that Postgres has invalidated.
func (src *Source) LostSlot(s *Slot) error {
	return pgerror.LostSlot(s.lostError(src.Slot), pgerror.Names{Slot: src.Slot, Publication: src.Publication, Table: src.Table})
}

// ReadSlot reads the slot. It returns nil if the slot does not exist. If it is missing on a standby, ReadSlot returns an error, because the
// slot may exist on the primary.
func (src *Source) ReadSlot(ctx context.Context, db *DB) (*Slot, error) {
	var s Slot
	err := db.QueryRow(ctx, `
		select coalesce(plugin, ''), slot_type, coalesce(database, ''), coalesce(database <> pg_catalog.current_database(), false), active, coalesce(active_pid, 0), coalesce(confirmed_flush_lsn::text, ''),
		       coalesce(confirmed_flush_lsn > pg_catalog.pg_current_wal_flush_lsn(), false),
		       coalesce(confirmed_flush_lsn > (select confirmed_lsn from walpost.relay_state where slot = slot_name and clean_stop), false),
		       two_phase and current_setting('server_version_num')::int >= 150000, coalesce(wal_status, ''), coalesce(to_jsonb(s) ->> 'invalidation_reason', ''),
		       greatest(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn), 0)::bigint,
		       case when safe_wal_size is null then -1 else greatest(safe_wal_size, 0) end, pg_catalog.clock_timestamp(),
		       coalesce((select pg_catalog.string_agg(named.slot, ', ' order by named.slot)
		         from (select pg_catalog.btrim(item, ' "') as slot from pg_catalog.unnest(pg_catalog.string_to_array(current_setting('synchronized_standby_slots', true), ',')) item) named
		         where to_jsonb(s) ->> 'failover' = 'true' and named.slot <> ''
		           and not exists (select from pg_catalog.pg_replication_slots used where used.slot_name = named.slot and used.active)), '')
		from pg_catalog.pg_replication_slots s where slot_name = $1`, src.Slot).
		Scan(&s.plugin, &s.kind, &s.database, &s.Foreign, &s.Active, &s.PID, &s.Confirmed, &s.beyond, &s.ahead,
			&s.twoPhase, &s.Status, &s.Reason, &s.Retained, &s.Safe, &s.Seen, &s.HeldBy)
	s.Lost = s.Status == "lost"
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, db.RequirePrimary(ctx)
	case err != nil:
		return nil, fmt.Errorf("look up slot %s: %w", src.Slot, err)
	}
	return &s, nil
}

// CheckSlot checks that walpost can stream the slot, and that the slot has lost nothing.
func (src *Source) CheckSlot(s *Slot, state *RelayState) error {
	name := src.Slot
	switch {
	case s.kind != "logical":
		return pgerror.Permanent(reason.SlotUnsuitable, fmt.Errorf("slot %s is a %s slot, not a logical slot of pgoutput", name, s.kind), "choose another name for walpost's slot (postgres.slot), or drop this one")
	case s.Foreign: // otherwise the server would report only that the slot is held, for which a relay stands by, or that it cannot be streamed
		return pgerror.Permanent(reason.SlotUnsuitable, fmt.Errorf("slot %s belongs to database %s: a slot name is unique in the whole server", name, s.database), "choose another name for walpost's slot (postgres.slot)")
	case s.plugin != "pgoutput":
		return pgerror.Permanent(reason.SlotUnsuitable, fmt.Errorf("slot %s uses the plugin %s and not pgoutput", name, s.plugin), "choose another name for walpost's slot (postgres.slot), or drop this one")
	case s.Lost:
		return src.LostSlot(s)
	case s.twoPhase: // pgoutput sends them with any protocol version, and a rollback may follow
		return pgerror.Permanent(reason.SlotUnsuitable, fmt.Errorf("slot %s was created with two_phase: it sends prepared transactions before they commit", name),
			"make a copy, which has no two_phase and the same position: SELECT pg_copy_logical_replication_slot(%s, %s); set postgres.slot: %s, start walpost, and drop the old slot",
			schema.QuoteLiteral(name), schema.QuoteLiteral(name+"_copy"), name+"_copy")
	case s.beyond:
		return pgerror.Permanent(reason.SlotAhead, fmt.Errorf("slot %s stands at %s, beyond the end of the server's WAL: this is another server, or it was restored from a backup", name, s.Confirmed),
			"publish what is missing from %s, then drop the slot and delete its row in walpost.relay_state", src.Table)
	case s.ahead && !s.Active: // an active slot is being moved by a relay that has started again
		return pgerror.Permanent(reason.SlotMoved, fmt.Errorf("slot %s stands at %s, ahead of where walpost left it (%s): somebody moved it, and the events in between were not published",
			name, s.Confirmed, state.confirmed), "publish what is missing from %s, then run: UPDATE walpost.relay_state SET clean_stop = false WHERE slot = %s",
			src.Table, schema.QuoteLiteral(name))
	}
	return nil
}

// missingSlot returns the fault of a slot that walpost has streamed from and that no longer exists.
func (src *Source) missingSlot(state *RelayState) error {
	known := "nothing was confirmed yet"
	if state.confirmed != "" {
		known = "the last recorded confirmation is " + state.confirmed
		if state.committed != "" {
			known += ", of a transaction committed at " + state.committed
		}
	}
	return pgerror.Permanent(reason.SlotMissing, fmt.Errorf("slot %s does not exist, but walpost has streamed from it: events committed since then are in no slot (%s)", src.Slot, known),
		"publish the rows of %s that were inserted since then from the table; to start again with all rows that are in it, run: DELETE FROM walpost.relay_state WHERE slot = %s",
		src.Table, schema.QuoteLiteral(src.Slot))
}

// LegalSlotName reports whether Postgres accepts name as the name of a slot.
func LegalSlotName(name string) bool { return slotName.MatchString(name) }

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// CheckNoSlot checks that a missing slot may be created.
func (src *Source) CheckNoSlot(state *RelayState) error {
	switch {
	case state != nil && state.Phase == PhaseStreaming:
		return src.missingSlot(state)
	case !LegalSlotName(src.Slot):
		return pgerror.Permanent(reason.SlotName, fmt.Errorf("%q is not a valid name for a slot", src.Slot), "choose another name (postgres.slot): up to 63 lower-case letters, digits and underscores")
	}
	return nil
}

// LockSlot tries to take the lock of a slot's first start, and reports whether it got it. The connection keeps the lock until it is closed.
func (d *DB) LockSlot(ctx context.Context, slot string) (locked bool, err error) {
	err = d.QueryRow(ctx, `select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('walpost slot ' || $1, 0))`, slot).Scan(&locked)
	if err != nil {
		return false, fmt.Errorf("lock the first start of slot %s: %w", slot, err)
	}
	return locked, nil
}
