package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// The phases of a slot's life.
const (
	phaseBackfilling = "backfilling" // from before the slot is made until the rows that were there are acked
	phaseStreaming   = "streaming"   // ever after
)

// relayState is the slot's row of walpost.relay_state.
type relayState struct {
	phase     string
	systemID  string
	table     uint32 // oid of the outbox; 0: unknown
	confirmed string // LSN; "": none yet
	committed string // commit time of the last confirmed transaction
}

// readState returns nil if there is no row.
func readState(ctx context.Context, db *database, slot string) (*relayState, error) {
	var s relayState
	err := db.QueryRow(ctx, `
		select phase, coalesce(system_id, ''), coalesce(table_oid, 0), coalesce(confirmed_lsn::text, ''), coalesce(confirmed_commit_time::text, '')
		from walpost.relay_state where slot = $1`, slot).Scan(&s.phase, &s.systemID, &s.table, &s.confirmed, &s.committed)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state of slot %s: %w", slot, err)
	}
	return &s, nil
}

// writePhase records the phase and what the slot belongs to. A relay that is at work is not one that stopped cleanly.
func writePhase(ctx context.Context, db *database, slot, phase string, s *server, tableOID uint32) error {
	_, err := db.Exec(ctx, `
		insert into walpost.relay_state (slot, phase, system_id, timeline, database, table_oid) values ($1, $2, $3, $4, $5, $6)
		on conflict (slot) do update set phase = excluded.phase, system_id = excluded.system_id, timeline = excluded.timeline,
		  database = excluded.database, table_oid = excluded.table_oid, clean_stop = false, updated_at = clock_timestamp()`,
		slot, phase, s.systemID, int64(s.history.current), s.database, tableOID)
	if err != nil {
		return fmt.Errorf("record phase %s of slot %s: %w", phase, slot, err)
	}
	return nil
}

// writeSnapshot records where the slot begins.
func writeSnapshot(ctx context.Context, db *database, slot string, lsn pglogrepl.LSN) error {
	_, err := db.Exec(ctx, `update walpost.relay_state set snapshot_lsn = $2::text::pg_lsn, updated_at = clock_timestamp() where slot = $1`, slot, lsn.String())
	if err != nil {
		return fmt.Errorf("record the snapshot of slot %s: %w", slot, err)
	}
	return nil
}

// recordEvery is how often a confirmation is recorded while acks flow. What a resync republishes reaches back further than that.
const recordEvery = 5 * time.Second

// recorder writes the last confirmation down, for the day on which the slot is lost. An idle relay writes nothing: a write would be WAL
// to be confirmed, and so on for ever. Nor does it keep a connection: that would be a client for a smart shutdown to wait for.
type recorder struct {
	open    func(context.Context) (*database, error)
	slot    string
	written int64 // commit time of the confirmation written last
}

// record writes a confirmation. clean: the relay leaves with everything confirmed, and the slot may not be found ahead of it.
func (r *recorder) record(ctx context.Context, confirmed pglogrepl.LSN, commit int64, clean bool) error {
	if !clean && (commit == 0 || commit == r.written) {
		return nil
	}
	var at *time.Time
	if commit != 0 {
		t := time.UnixMicro(commit)
		at = &t
	}
	db, err := r.open(ctx)
	if err != nil {
		return fmt.Errorf("record confirmation %s: %w", confirmed, err)
	}
	defer db.close()
	// A session that has confirmed nothing leaves the slot where it was found.
	_, err = db.Exec(ctx, `
		update walpost.relay_state set clean_stop = $4, updated_at = clock_timestamp(),
		  confirmed_lsn = greatest($2::text::pg_lsn, case when $4 then (select confirmed_flush_lsn from pg_catalog.pg_replication_slots where slot_name = $1) end),
		  confirmed_commit_time = coalesce($3, confirmed_commit_time)
		where slot = $1`, r.slot, confirmed.String(), at, clean)
	if err != nil {
		return fmt.Errorf("record confirmation %s: %w", confirmed, err)
	}
	r.written = commit
	return nil
}

// run records until ctx is done. A write that comes to nothing is worth a line and no more: the next one makes up for it.
func (r *recorder) run(ctx context.Context, confirmed func() (pglogrepl.LSN, int64), warn func(error)) {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			lsn, commit := confirmed()
			if err := r.record(ctx, lsn, commit, false); err != nil && ctx.Err() == nil {
				warn(err)
			}
		}
	}
}

// writeTable records which table the slot streams.
func writeTable(ctx context.Context, db *database, slot string, table uint32) error {
	_, err := db.Exec(ctx, `update walpost.relay_state set table_oid = $2, updated_at = clock_timestamp() where slot = $1`, slot, table)
	if err != nil {
		return fmt.Errorf("record the table of slot %s: %w", slot, err)
	}
	return nil
}
