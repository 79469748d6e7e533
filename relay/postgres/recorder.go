package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
)

// recordEvery is how often a confirmation is recorded while acks flow. What a resync republishes reaches back further than that.
const recordEvery = 5 * time.Second

// Recorder writes the last confirmation to walpost.relay_state, for the day on which the slot is lost. An idle relay writes nothing: a write would be WAL
// to be confirmed, and so on for ever. Nor does it keep a connection: that would be a client for a smart shutdown to wait for.
type Recorder struct {
	open    func(context.Context) (*DB, error)
	slot    string
	written int64 // commit time of the confirmation written last
}

// NewRecorder returns a recorder of a slot's confirmations, over connections that open opens.
func NewRecorder(slot string, open func(context.Context) (*DB, error)) *Recorder {
	return &Recorder{slot: slot, open: open}
}

// Record writes a confirmation. clean: the relay leaves with everything confirmed, and the slot may not be found ahead of it.
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
	// A session that has confirmed nothing leaves the slot where it was found.
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

// Run records until ctx is done. A write that comes to nothing is worth a line and no more: the next one makes up for it.
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
