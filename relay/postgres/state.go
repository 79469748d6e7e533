package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"walpost/relay/pgerror"
	"walpost/schema"
)

// The phases of a slot, as in column phase.
const (
	PhaseBackfilling = "backfilling" // from before the creation of the slot until the rows of the backfill are acked
	PhaseStreaming   = "streaming"   // from then on
)

// RelayState is the slot's row of walpost.relay_state.
type RelayState struct {
	Phase     string
	SystemID  string
	Table     uint32        // oid of the outbox; 0: unknown
	Snapshot  pglogrepl.LSN // where the slot began; 0: unknown
	confirmed string        // LSN; "": none yet
	committed string        // commit time of the last confirmed transaction; "": unknown
}

// ReadState reads the slot's row of walpost.relay_state. It returns nil if there is none.
func ReadState(ctx context.Context, db *DB, slot string) (*RelayState, error) {
	var s RelayState
	var snapshot string
	err := db.QueryRow(ctx, `
		select phase, coalesce(system_id, ''), coalesce(table_oid, 0), coalesce(snapshot_lsn, '0/0')::text, coalesce(confirmed_lsn::text, ''), coalesce(confirmed_commit_time::text, '')
		from walpost.relay_state where slot = $1`, slot).Scan(&s.Phase, &s.SystemID, &s.Table, &snapshot, &s.confirmed, &s.committed)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state of slot %s: %w", slot, err)
	}
	if s.Snapshot, err = pglogrepl.ParseLSN(snapshot); err != nil {
		return nil, fmt.Errorf("read state of slot %s: %w", slot, err)
	}
	return &s, nil
}

// Identity is the server and the database that a slot belongs to.
type Identity struct {
	SystemID string
	Timeline uint32
	Database string
}

// WritePhase records the phase, and the server and the table of the slot. It resets clean_stop, because the relay is at work, and holder, because another session may have had the slot. If the slot
// does not exist, it also clears snapshot_lsn, because that belonged to an earlier slot.
func WritePhase(ctx context.Context, db *DB, slot, phase string, id Identity, tableOID uint32) error {
	err := db.write(ctx, `
		insert into walpost.relay_state (slot, phase, system_id, timeline, database, table_oid) values ($1, $2, $3, $4, $5, $6)
		on conflict (slot) do update set phase = excluded.phase, system_id = excluded.system_id, timeline = excluded.timeline,
		  snapshot_lsn = case when exists (select from pg_catalog.pg_replication_slots where slot_name = $1) then relay_state.snapshot_lsn end,
		  database = excluded.database, table_oid = excluded.table_oid, clean_stop = false, holder = null, updated_at = clock_timestamp()`,
		slot, phase, id.SystemID, int64(id.Timeline), id.Database, tableOID)
	if err != nil {
		return fmt.Errorf("record phase %s of slot %s: %w", phase, slot, err)
	}
	return nil
}

// WriteSnapshot records the position at which the slot begins.
func WriteSnapshot(ctx context.Context, db *DB, slot string, lsn pglogrepl.LSN) error {
	err := db.write(ctx, `update walpost.relay_state set snapshot_lsn = $2::text::pg_lsn, updated_at = clock_timestamp() where slot = $1`, slot, lsn.String())
	if err != nil {
		return fmt.Errorf("record the snapshot of slot %s: %w", slot, err)
	}
	return nil
}

// WriteTable records which table the slot streams.
func WriteTable(ctx context.Context, db *DB, slot string, table uint32) error {
	err := db.write(ctx, `update walpost.relay_state set table_oid = $2, updated_at = clock_timestamp() where slot = $1`, slot, table)
	if err != nil {
		return fmt.Errorf("record the table of slot %s: %w", slot, err)
	}
	return nil
}

// WriteHolder records the word of the session that has the slot. Whoever parks events or publishes parked ones compares it.
func WriteHolder(ctx context.Context, db *DB, slot, holder string) error {
	err := db.write(ctx, `update walpost.relay_state set holder = $2, updated_at = clock_timestamp() where slot = $1`, slot, holder)
	if err != nil {
		return fmt.Errorf("record who has slot %s: %w", slot, err)
	}
	return nil
}

// DropDeadLetters deletes the dead letters of a slot whose positions differ from at only in the index, and returns how many these are. If the
// table is not there, that is an error that says so.
func DropDeadLetters(ctx context.Context, db *DB, slot string, at schema.Position) (dropped int64, err error) {
	first, last := at, at
	first.Index, last.Index = 0, math.MaxUint32
	err = pgx.BeginTxFunc(ctx, db.Conn, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		done, err := tx.Exec(ctx, `delete from walpost.dead_letters where slot = $1 and position between $2 and $3`, slot, first.String(), last.String())
		dropped = done.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("drop dead letters of an unfinished first start of slot %s: %w", slot, err)
	}
	return dropped, nil
}

// CountParked returns how many events of a slot are parked, 0 if the role may not know.
func CountParked(ctx context.Context, db *DB, slot string) (events int64, err error) {
	// Two counts, because each has an index.
	err = db.QueryRow(ctx, `select (select count(*) from walpost.dead_letters where slot = $1 and `+schema.WaitsForPerson+`)
		+ (select count(*) from walpost.dead_letters where slot = $1 and `+schema.IsBlocked+`)`, slot).Scan(&events)
	if pgerror.IsSQLState(err, "42P01", "42501") { // no table, no SELECT: then nothing was parked with this role
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count the parked events of slot %s: %w", slot, err)
	}
	return events, nil
}

// DeletePhase removes the slot's row if a first start recorded it and there is no slot.
func DeletePhase(ctx context.Context, db *DB, slot string) error {
	err := db.write(ctx, `
		delete from walpost.relay_state where slot = $1 and phase = $2
		  and not exists (select from pg_catalog.pg_replication_slots where slot_name = $1)`, slot, PhaseBackfilling)
	if err != nil {
		return fmt.Errorf("remove phase %s of slot %s: %w", PhaseBackfilling, slot, err)
	}
	return nil
}
