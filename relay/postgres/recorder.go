package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
)

// recordEvery is how often the confirmation is recorded while acks arrive. After the loss of a slot people republish rows from further back
// than that anyway.
const recordEvery = 5 * time.Second

// Recorder writes the last confirmation to walpost.relay_state, where people find it if the slot is lost. While the relay is idle it writes
// nothing: each write would cause WAL, whose confirmation would cause the next write. It opens a connection for each write, because an open
// connection would hold up a smart shutdown.
type Recorder struct {
	open    func(context.Context) (*DB, error)
	slot    string
	written int64 // commit time of the last written confirmation
}

// NewRecorder returns a recorder of a slot's confirmations. It connects by open.
func NewRecorder(slot string, open func(context.Context) (*DB, error)) *Recorder {
	return &Recorder{slot: slot, open: open}
}

// Record writes a confirmation. clean means that the relay stops with everything confirmed, so a later start must not find the slot ahead
// of this position.
func (r *Recorder) Record(ctx context.Context, confirmed pglogrepl.LSN, commit int64, clean bool) error {
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
	defer db.Close()
	// If the session has confirmed nothing, the slot's own position is recorded.
	err = db.write(ctx, `
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

// Run records every few seconds until ctx is done. It passes a failed write to warn and goes on, because the next write makes up for it.
func (r *Recorder) Run(ctx context.Context, confirmed func() (pglogrepl.LSN, int64), warn func(error)) {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			lsn, commit := confirmed()
			if err := r.Record(ctx, lsn, commit, false); err != nil && ctx.Err() == nil {
				warn(err)
			}
		}
	}
}
