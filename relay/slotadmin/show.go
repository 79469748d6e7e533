package slotadmin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/relay/pgerror"
	"walpost/relay/postgres"
)

// Slot is what Postgres knows of the configured slot, in the names of pg_replication_slots, and what relays have recorded of it.
type Slot struct {
	Name              string `json:"slot_name"`
	Plugin            string `json:"plugin"`    // "" for a physical slot
	Type              string `json:"slot_type"` // logical or physical
	Database          string `json:"database"`
	Active            bool   `json:"active"`
	PID               int32  `json:"active_pid,omitempty"`
	Application       string `json:"application_name,omitempty"` // the client's; "" where the role may not see it
	Address           string `json:"client_addr,omitempty"`      // where the client is; "" for this machine, or where the role may not see it
	WALStatus         string `json:"wal_status"`                 // reserved, extended, unreserved, lost
	Reason            string `json:"invalidation_reason,omitempty"`
	RestartLSN        string `json:"restart_lsn"`         // from which on WAL is kept; "": none is
	ConfirmedFlushLSN string `json:"confirmed_flush_lsn"` // up to which Postgres may forget
	RetainedBytes     int64  `json:"retained_bytes"`      // WAL from RestartLSN to the server's end
	LagBytes          int64  `json:"confirmed_lag_bytes"` // WAL from ConfirmedFlushLSN to the server's end
	SafeWALSize       *int64 `json:"safe_wal_size"`       // WAL in bytes that may still be written before the slot may be lost; nil: no limit is set

	Recorded *Recorded `json:"relay_state"` // nil: no relay has begun with it

	Place string `json:"-"` // the database and the server that were asked, for people

	foreign bool // it is of another database than the connection
}

// Holder returns who streams from the slot, "" if nobody does.
func (s *Slot) Holder() string {
	if !s.Active {
		return ""
	}
	return holder(s.PID, s.Application, s.Address)
}

// holder returns who streams from a slot: the server's process, and the client as far as it is known.
func holder(pid int32, application, address string) string {
	text := fmt.Sprintf("server process %d streams", pid)
	if application != "" {
		text += " to " + application
	}
	if address != "" {
		text += " at " + address
	}
	return text
}

// Recorded is a slot's row of walpost.relay_state.
type Recorded struct {
	Phase      string     `json:"phase"`                 // backfilling or streaming
	Confirmed  string     `json:"confirmed_lsn"`         // of the last confirmation that was recorded; "": none
	CommitTime *time.Time `json:"confirmed_commit_time"` // when what it confirmed was committed; nil: unknown
	CleanStop  bool       `json:"clean_stop"`
	UpdatedAt  time.Time  `json:"updated_at"`
}

// Show looks the configured slot up, over one short connection. That there is none is an error, which tells what relays have recorded of
// it. Of cfg it needs ConnString and Slot.
func Show(ctx context.Context, cfg postgres.Config) (*Slot, error) {
	v := newVerb(cfg)
	if err := v.open(ctx); err != nil {
		return nil, err
	}
	defer v.close()
	s, err := v.lookNow(ctx)
	if err == nil && s.Type == "" {
		err = v.none(s)
	}
	return s, err
}

// none is the error of a slot that is not there.
func (v *verb) none(s *Slot) error {
	return fmt.Errorf("slot %s does not exist%s", v.Slot, s.Recorded.besides())
}

// besides tells of a slot that is not there.
func (r *Recorded) besides() string {
	switch {
	case r == nil:
		return ", and no relay has begun with it"
	case r.Phase == postgres.PhaseBackfilling:
		return ", and a first start with it did not end"
	}
	return ", but walpost has streamed from it: " + r.last()
}

// last tells of the last confirmation.
func (r *Recorded) last() string {
	switch {
	case r.Confirmed == "":
		return "nothing was confirmed yet"
	case r.CommitTime == nil:
		return "the last recorded confirmation is " + r.Confirmed
	}
	return fmt.Sprintf("the last recorded confirmation is %s, committed %s", r.Confirmed, r.CommitTime.UTC().Format(time.RFC3339))
}

// verb is one use of this package, over a connection of its own.
type verb struct {
	*postgres.Source
	db     *postgres.DB
	locked bool // it has the lock of the slot's first start
}

func newVerb(cfg postgres.Config) *verb { return &verb{Source: postgres.NewSource(cfg)} }

// open connects.
func (v *verb) open(ctx context.Context) (err error) {
	v.db, err = v.Source.Open(ctx)
	return err
}

// close gives the lock back, if it was had, and closes the connection. With the connection alone the lock would live on until the server's
// process has noticed, and a verb that comes right after this one would be told of a first start.
func (v *verb) close() {
	if v.locked {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		v.db.Exec(ctx, "select pg_catalog.pg_advisory_unlock_all()")
		cancel()
	}
	v.db.Close()
}

// do does what takes milliseconds, and classifies its error.
func (v *verb) do(ctx context.Context, act func(context.Context) error) error {
	return postgres.WithTimeout(ctx, func(ctx context.Context) error { return v.Classify(act(ctx), pgerror.Preparing) })
}

// lookNow is look for a verb that does nothing else at that moment.
func (v *verb) lookNow(ctx context.Context) (s *Slot, err error) {
	err = v.do(ctx, func(ctx context.Context) (err error) {
		s, err = v.look(ctx)
		return err
	})
	return s, err
}

// look returns what is there; Type is "" if there is no slot.
func (v *verb) look(ctx context.Context) (*Slot, error) {
	s := &Slot{Name: v.Slot, Place: postgres.Place(v.db.Conn)}
	// What newer versions have more is asked for in a way that needs no column.
	err := v.db.QueryRow(ctx, `
		select coalesce(s.plugin, ''), s.slot_type, coalesce(s.database, ''), coalesce(s.database <> pg_catalog.current_database(), false), s.active, coalesce(s.active_pid, 0),
		       coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''),
		       coalesce(s.wal_status, ''), coalesce(to_jsonb(s) ->> 'invalidation_reason', ''),
		       coalesce(s.restart_lsn::text, ''), coalesce(s.confirmed_flush_lsn::text, ''),
		       greatest(coalesce(e.lsn - s.restart_lsn, 0), 0)::bigint, greatest(coalesce(e.lsn - s.confirmed_flush_lsn, 0), 0)::bigint,
		       case when s.safe_wal_size is not null then greatest(s.safe_wal_size, 0) end -- greatest() passes NULL over
		from pg_catalog.pg_replication_slots s
		  left join pg_catalog.pg_stat_activity a on a.pid = s.active_pid,
		  (select case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_lsn() end) e (lsn)
		where s.slot_name = $1`, v.Slot).
		Scan(&s.Plugin, &s.Type, &s.Database, &s.foreign, &s.Active, &s.PID, &s.Application, &s.Address, &s.WALStatus, &s.Reason,
			&s.RestartLSN, &s.ConfirmedFlushLSN, &s.RetainedBytes, &s.LagBytes, &s.SafeWALSize)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("look up slot %s: %w", v.Slot, err)
	}
	s.Recorded, err = v.recorded(ctx)
	return s, err
}

// recorded returns nil where nothing is recorded, also because there is no schema walpost.
func (v *verb) recorded(ctx context.Context) (*Recorded, error) {
	var r Recorded
	err := v.db.QueryRow(ctx, `select phase, coalesce(confirmed_lsn::text, ''), confirmed_commit_time, clean_stop, updated_at from walpost.relay_state where slot = $1`,
		v.Slot).Scan(&r.Phase, &r.Confirmed, &r.CommitTime, &r.CleanStop, &r.UpdatedAt)
	switch {
	case errors.Is(err, pgx.ErrNoRows), pgerror.IsSQLState(err, "42P01", "3F000"):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read state of slot %s: %w", v.Slot, err)
	}
	return &r, nil
}
