package slotadmin

import (
	"context"
	"fmt"
	"time"

	"walpost/relay/deadletter"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
)

// Status is what Postgres shows of a relay, for when the relay itself does not answer.
type Status struct {
	Slot postgres.SlotState // WALStatus "": there is no slot

	PID         int32  // the server process that streams from the slot; 0: nobody streams
	Application string // the client's application_name; "" where the role may not see it
	Address     string // where the client is; "" for this machine, or where the role may not see it

	Phase       string    // backfilling or streaming; "": no relay has used the slot
	Confirmed   string    // LSN of the last recorded confirmation; "": none
	ConfirmedAt time.Time // commit time of the last transaction that it confirmed; zero: unknown

	Parked *deadletter.Summary // what is parked; nil: the table cannot be read, because it is locked or the role lacks the right
}

// Holder describes who streams from the slot; "" if nobody does.
func (s *Status) Holder() string {
	if s.PID == 0 {
		return ""
	}
	return holder(s.PID, s.Application, s.Address)
}

// parkedLimit is how long ReadStatus waits for what is parked.
const parkedLimit = 2 * time.Second

// ReadStatus reads the status from Postgres, over one short connection. Of cfg it needs ConnString and Slot.
func ReadStatus(ctx context.Context, cfg postgres.Config) (Status, error) {
	var o Status
	r := postgres.NewSource(cfg)
	db, err := r.Open(ctx)
	if err != nil {
		return o, err
	}
	defer db.Close()
	row, err := r.ReadSlot(ctx, db)
	if err != nil {
		return o, r.Classify(err, pgerror.Preparing)
	}
	if o.Slot = row.State(); row != nil && row.Active {
		o.PID = row.PID
	}
	var at *time.Time
	err = db.QueryRow(ctx, `
		select coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''), coalesce(s.phase, ''), coalesce(s.confirmed_lsn::text, ''), s.confirmed_commit_time
		from (values (1)) one left join walpost.relay_state s on s.slot = $1 left join pg_catalog.pg_stat_activity a on a.pid = $2`, cfg.Slot, o.PID).
		Scan(&o.Application, &o.Address, &o.Phase, &o.Confirmed, &at)
	if err != nil {
		return o, r.Classify(fmt.Errorf("read state of slot %s: %w", cfg.Slot, err), pgerror.Preparing)
	}
	if at != nil {
		o.ConfirmedAt = *at
	}
	ctx, cancel := context.WithTimeout(ctx, parkedLimit)
	defer cancel()
	if s, err := deadletter.Summarize(ctx, db.Conn, cfg.Slot); err == nil {
		o.Parked = &s
	}
	return o, nil
}
