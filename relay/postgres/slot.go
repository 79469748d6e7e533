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

// Slot is the slot as pg_replication_slots showed it at one moment.
type Slot struct {
	plugin, kind, database string
	Foreign                bool // it is of another database than the connection
	Active                 bool
	PID                    int32
	Confirmed              string // confirmed_flush_lsn
	beyond                 bool   // it stands beyond the end of the server's WAL
	ahead                  bool   // it stands beyond what was recorded at a clean stop
	twoPhase               bool   // it sends a prepared transaction when that is prepared: since 15, where it was made so
	Lost                   bool
	Status                 string    // wal_status
	Reason                 string    // why it is lost, since 17
	Retained               int64     // bytes of WAL that it keeps
	Safe                   int64     // bytes that may still be written before it is given up; -1: no limit
	Seen                   time.Time // when this was read, by the server's clock
}

// State returns what a status page shows of the slot; of no slot, when that was seen.
func (s *Slot) State() SlotState {
	if s == nil {
		return SlotState{Seen: time.Now(), SafeBytes: -1}
	}
	return SlotState{Seen: time.Now(), Active: s.Active, WALStatus: s.Status, RetainedBytes: s.Retained, SafeBytes: s.Safe, ConfirmedFlush: s.Confirmed}
}

// SlotState is what Postgres said of the slot when the relay last looked, which it does every ten seconds.
type SlotState struct {
	Seen           time.Time // when; zero: not yet, and nothing else is known
	Active         bool      // a relay streams from it, this one or another
	WALStatus      string    // pg_replication_slots.wal_status: reserved, extended, unreserved or lost; "": there is no slot
	RetainedBytes  int64     // WAL that the slot keeps
	SafeBytes      int64     // WAL that can still be written before Postgres may give the slot up; -1: there is no such limit
	ConfirmedFlush string    // confirmed_flush_lsn, up to which Postgres may forget
}

// lostError returns an error which says that Postgres gave the slot up, and why.
func (s *Slot) lostError(name string) error {
	if s.Reason == "" {
		return fmt.Errorf("slot %s: wal_status is lost", name)
	}
	return fmt.Errorf("slot %s: wal_status is lost (%s)", name, s.Reason)
}

// LostSlot returns the fault of a slot that Postgres gave up.
func (src *Source) LostSlot(s *Slot) error {
	return pgerror.LostSlot(s.lostError(src.Slot), pgerror.Names{Slot: src.Slot, Publication: src.Publication, Table: src.Table})
}

// ReadSlot reads the slot. It returns nil if there is no slot. A standby is an error: what is not there may be on its primary.
func (src *Source) ReadSlot(ctx context.Context, db *DB) (*Slot, error) {
	var s Slot
	err := db.QueryRow(ctx, `
		select coalesce(plugin, ''), slot_type, coalesce(database, ''), coalesce(database <> pg_catalog.current_database(), false), active, coalesce(active_pid, 0), coalesce(confirmed_flush_lsn::text, ''),
		       coalesce(confirmed_flush_lsn > pg_catalog.pg_current_wal_flush_lsn(), false),
		       coalesce(confirmed_flush_lsn > (select confirmed_lsn from walpost.relay_state where slot = slot_name and clean_stop), false),
		       two_phase and current_setting('server_version_num')::int >= 150000, coalesce(wal_status, ''), coalesce(to_jsonb(s) ->> 'invalidation_reason', ''),
		       greatest(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn), 0)::bigint,
		       case when safe_wal_size is null then -1 else greatest(safe_wal_size, 0) end, pg_catalog.clock_timestamp()
		from pg_catalog.pg_replication_slots s where slot_name = $1`, src.Slot).
		Scan(&s.plugin, &s.kind, &s.database, &s.Foreign, &s.Active, &s.PID, &s.Confirmed, &s.beyond, &s.ahead,
			&s.twoPhase, &s.Status, &s.Reason, &s.Retained, &s.Safe, &s.Seen)
	s.Lost = s.Status == "lost"
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, db.RequirePrimary(ctx)
	case err != nil:
		return nil, fmt.Errorf("look up slot %s: %w", src.Slot, err)
	}
	return &s, nil
}

// CheckSlot checks that a slot is one that walpost can stream and has not lost anything.
func (src *Source) CheckSlot(s *Slot, state *RelayState) error {
	name := src.Slot
	switch {
	case s.kind != "logical":
		return pgerror.Permanent(reason.SlotUnsuitable, fmt.Errorf("slot %s is %s and not of pgoutput", name, s.kind), "choose another name for walpost's slot, or drop this one")
	case s.Foreign: // the server would say no more than that it is held, which is what a standby waits for, or that it cannot be streamed
		return pgerror.Permanent(reason.SlotUnsuitable, fmt.Errorf("slot %s is of database %s: slots have one name in the whole server", name, s.database), "choose another name for walpost's slot by postgres.slot")
	case s.plugin != "pgoutput":
		return pgerror.Permanent(reason.SlotUnsuitable, fmt.Errorf("slot %s is of %s and not of pgoutput", name, s.plugin), "choose another name for walpost's slot, or drop this one")
	case s.Lost:
		return src.LostSlot(s)
	case s.twoPhase: // pgoutput does so whatever protocol is asked for, and a rollback may follow
		return pgerror.Permanent(reason.SlotUnsuitable, fmt.Errorf("slot %s was created with two_phase: it sends transactions that are only prepared", name),
			"make a copy, which has no two_phase and stands at the same place: SELECT pg_copy_logical_replication_slot(%s, %s); set postgres.slot: %s, start walpost, and drop the old slot",
			schema.QuoteLiteral(name), schema.QuoteLiteral(name+"_copy"), name+"_copy")
	case s.beyond:
		return pgerror.Permanent(reason.SlotAhead, fmt.Errorf("slot %s stands at %s, beyond the end of the server's WAL: the server is another one or was restored from a backup", name, s.Confirmed),
			"publish what is missing from %s, then drop the slot and the row of walpost.relay_state", src.Table)
	case s.ahead && !s.Active: // an active one is being moved by a relay that has begun anew
		return pgerror.Permanent(reason.SlotMoved, fmt.Errorf("slot %s stands at %s, ahead of where walpost left it (%s): somebody moved it, and what lies between was not published",
			name, s.Confirmed, state.confirmed), "publish what is missing from %s, then run: UPDATE walpost.relay_state SET clean_stop = false WHERE slot = %s",
			src.Table, schema.QuoteLiteral(name))
	}
	return nil
}

// missingSlot returns the fault of a slot that was there and is no more.
func (src *Source) missingSlot(state *RelayState) error {
	known := "nothing was confirmed yet"
	if state.confirmed != "" {
		known = "the last recorded confirmation is " + state.confirmed
		if state.committed != "" {
			known += ", of a transaction committed at " + state.committed
		}
	}
	return pgerror.Permanent(reason.SlotMissing, fmt.Errorf("slot %s does not exist, but walpost has streamed from it: events committed since are in no slot (%s)", src.Slot, known),
		"publish the rows of %s created since from the table; to begin anew with all rows that are in it, run: DELETE FROM walpost.relay_state WHERE slot = %s",
		src.Table, schema.QuoteLiteral(src.Slot))
}

// LegalSlotName reports whether Postgres takes name as the name of a slot.
func LegalSlotName(name string) bool { return slotName.MatchString(name) }

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// CheckNoSlot checks that a slot that does not exist may be created.
func (src *Source) CheckNoSlot(state *RelayState) error {
	switch {
	case state != nil && state.Phase == PhaseStreaming:
		return src.missingSlot(state)
	case !LegalSlotName(src.Slot):
		return pgerror.Permanent(reason.SlotName, fmt.Errorf("no slot can have the name %q", src.Slot), "choose another one: up to 63 lower-case letters, digits and underscores")
	}
	return nil
}

// LockSlot takes the lock of a slot's first start, which lives as long as the connection, and reports whether it was free.
func (d *DB) LockSlot(ctx context.Context, slot string) (locked bool, err error) {
	err = d.QueryRow(ctx, `select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('walpost slot ' || $1, 0))`, slot).Scan(&locked)
	if err != nil {
		return false, fmt.Errorf("lock the first start of slot %s: %w", slot, err)
	}
	return locked, nil
}
