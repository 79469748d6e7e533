package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/relay/pgerror"
	"walpost/schema"
)

// slotRow is what pg_replication_slots says of the slot.
type slotRow struct {
	plugin, kind, database string
	foreign                bool // it is of another database than the connection
	active                 bool
	pid                    int32
	confirmed              string // confirmed_flush_lsn
	beyond                 bool   // it stands beyond the end of the server's WAL
	ahead                  bool   // it stands beyond what was recorded at a clean stop
	lost                   bool
	status                 string    // wal_status
	reason                 string    // why it is lost, since 17
	retained               int64     // bytes of WAL that it keeps
	safe                   int64     // bytes that may still be written before it is given up; -1: no limit
	seen                   time.Time // when this was read, by the server's clock
}

// state is what a status page shows of the slot; of none, when that was seen.
func (s *slotRow) state() SlotState {
	if s == nil {
		return SlotState{Seen: time.Now(), SafeBytes: -1}
	}
	return SlotState{Seen: time.Now(), Active: s.active, WALStatus: s.status, RetainedBytes: s.retained, SafeBytes: s.safe, ConfirmedFlush: s.confirmed}
}

// lostError says that Postgres gave the slot up.
func (s *slotRow) lostError(name string) error {
	if s.reason == "" {
		return fmt.Errorf("slot %s: wal_status is lost", name)
	}
	return fmt.Errorf("slot %s: wal_status is lost (%s)", name, s.reason)
}

// readSlot returns nil if there is no slot.
func (src *source) readSlot(ctx context.Context, db *database) (*slotRow, error) {
	var s slotRow
	err := db.QueryRow(ctx, `
		select coalesce(plugin, ''), slot_type, coalesce(database, ''), coalesce(database <> pg_catalog.current_database(), false), active, coalesce(active_pid, 0), coalesce(confirmed_flush_lsn::text, ''),
		       coalesce(confirmed_flush_lsn > pg_catalog.pg_current_wal_flush_lsn(), false),
		       coalesce(confirmed_flush_lsn > (select confirmed_lsn from walpost.relay_state where slot = slot_name and clean_stop), false),
		       coalesce(wal_status, ''), coalesce(to_jsonb(s) ->> 'invalidation_reason', ''),
		       greatest(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn), 0)::bigint,
		       case when safe_wal_size is null then -1 else greatest(safe_wal_size, 0) end, pg_catalog.clock_timestamp()
		from pg_catalog.pg_replication_slots s where slot_name = $1`, src.Slot).
		Scan(&s.plugin, &s.kind, &s.database, &s.foreign, &s.active, &s.pid, &s.confirmed, &s.beyond, &s.ahead,
			&s.status, &s.reason, &s.retained, &s.safe, &s.seen)
	s.lost = s.status == "lost"
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up slot %s: %w", src.Slot, err)
	}
	return &s, nil
}

// checkSlot checks that a slot is one that walpost can stream and has not lost anything.
func (src *source) checkSlot(s *slotRow, state *relayState) error {
	name := src.Slot
	switch {
	case s.kind != "logical":
		return pgerror.Permanent(fmt.Errorf("slot %s is %s and not of pgoutput", name, s.kind), "choose another name for walpost's slot, or drop this one")
	case s.foreign: // the server would say no more than that it is held, which is what a standby waits for, or that it cannot be streamed
		return pgerror.Permanent(fmt.Errorf("slot %s is of database %s: slots have one name in the whole server", name, s.database), "choose another name for walpost's slot by postgres.slot")
	case s.plugin != "pgoutput":
		return pgerror.Permanent(fmt.Errorf("slot %s is of %s and not of pgoutput", name, s.plugin), "choose another name for walpost's slot, or drop this one")
	case s.lost:
		return pgerror.LostSlot(s.lostError(name), src.names)
	case s.beyond:
		return pgerror.Permanent(fmt.Errorf("slot %s stands at %s, beyond the end of the server's WAL: the server is another one or was restored from a backup", name, s.confirmed),
			"publish what is missing from %s, then drop the slot and the row of walpost.relay_state", src.Table)
	case s.ahead && !s.active: // an active one is being moved by a relay that has begun anew
		return pgerror.Permanent(fmt.Errorf("slot %s stands at %s, ahead of where walpost left it (%s): somebody moved it, and what lies between was not published",
			name, s.confirmed, state.confirmed), "publish what is missing from %s, then run: UPDATE walpost.relay_state SET clean_stop = false WHERE slot = %s",
			src.Table, schema.QuoteLiteral(name))
	}
	return nil
}

// missingSlot is the fault of a slot that was there and is no more.
func (src *source) missingSlot(state *relayState) error {
	known := "nothing was confirmed yet"
	if state.confirmed != "" {
		known = "the last recorded confirmation is " + state.confirmed
		if state.committed != "" {
			known += ", of a transaction committed at " + state.committed
		}
	}
	return pgerror.Permanent(fmt.Errorf("slot %s does not exist, but walpost has streamed from it: events committed since are in no slot (%s)", src.Slot, known),
		"publish the rows of %s created since from the table; to begin anew with all rows that are in it, run: DELETE FROM walpost.relay_state WHERE slot = %s",
		src.Table, schema.QuoteLiteral(src.Slot))
}
