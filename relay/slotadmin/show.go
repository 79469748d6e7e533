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

// Slot is the configured slot, with the names of pg_replication_slots, and its row in walpost.relay_state.
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
	RestartLSN        string `json:"restart_lsn"`         // WAL is kept from here on; "": no WAL is kept
	ConfirmedFlushLSN string `json:"confirmed_flush_lsn"` // everything before it is confirmed
	RetainedBytes     int64  `json:"retained_bytes"`      // WAL from RestartLSN to the server's end
	LagBytes          int64  `json:"confirmed_lag_bytes"` // WAL from ConfirmedFlushLSN to the server's end
	SafeWALSize       *int64 `json:"safe_wal_size"`       // bytes of WAL that may still be written before the slot may be lost; nil: no limit

	Recorded *Recorded `json:"relay_state"` // nil: no relay has used the slot

	Place string `json:"-"` // the database and the server, as a text for people

	foreign bool // it belongs to another database than the connection's
}

// Holder describes who streams from the slot; "" if nobody does.
func (s *Slot) Holder() string {
	if !s.Active {
		return ""
	}
	return holder(s.PID, s.Application, s.Address)
}

// holder describes who streams from a slot: the server process, and the client as far as it is known.
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
	Confirmed  string     `json:"confirmed_lsn"`         // the last recorded confirmation; "": none
	CommitTime *time.Time `json:"confirmed_commit_time"` // commit time of the last transaction that it confirmed; nil: unknown
	CleanStop  bool       `json:"clean_stop"`
	UpdatedAt  time.Time  `json:"updated_at"`
}

// Show reads the configured slot, over one short connection. If the slot does not exist, Show returns an error, which also says what
// walpost.relay_state has about it. Of cfg it needs ConnString and Slot.
func Show(ctx context.Context, cfg postgres.Config) (*Slot, error) {
	c := newCommand(cfg)
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	defer c.close()
	s, err := c.readNow(ctx)
	if err == nil && s.Type == "" {
		err = c.none(s)
	}
	return s, err
}

// none returns the error of a slot that does not exist.
func (c *command) none(s *Slot) error {
	return fmt.Errorf("slot %s does not exist%s", c.Slot, s.Recorded.besides())
}

// besides returns what is recorded about a slot that does not exist, as the end of a sentence.
func (r *Recorded) besides() string {
	switch {
	case r == nil:
		return ", and no relay has used it"
	case r.Phase == postgres.PhaseBackfilling:
		return ", and its first start did not finish"
	}
	return ", but walpost has streamed from it: " + r.last()
}

// last describes the last recorded confirmation.
func (r *Recorded) last() string {
	switch {
	case r.Confirmed == "":
		return "nothing was confirmed yet"
	case r.CommitTime == nil:
		return "the last recorded confirmation is " + r.Confirmed
	}
	return fmt.Sprintf("the last recorded confirmation is %s, committed %s", r.Confirmed, r.CommitTime.UTC().Format(time.RFC3339))
}

// command is one use of this package, with a connection of its own.
type command struct {
	*postgres.Source
	db     *postgres.DB
	locked bool // it has the lock of the slot's first start
}

func newCommand(cfg postgres.Config) *command { return &command{Source: postgres.NewSource(cfg)} }

// open connects.
func (c *command) open(ctx context.Context) (err error) {
	c.db, err = c.Source.Open(ctx)
	return err
}

// close releases the lock, if the command has it, and closes the connection. If it only closed the connection, the lock would stay until
// the server process has noticed, and a command right after this one would report a first start.
func (c *command) close() {
	if c.locked {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		c.db.Exec(ctx, "select pg_catalog.pg_advisory_unlock_all()")
		cancel()
	}
	c.db.Close()
}

// do calls act, which normally takes milliseconds, with a time limit, and classifies its error.
func (c *command) do(ctx context.Context, act func(context.Context) error) error {
	return postgres.WithTimeout(ctx, func(ctx context.Context) error { return c.Classify(act(ctx), pgerror.Preparing) })
}

// readNow calls read with a time limit, and classifies its error.
func (c *command) readNow(ctx context.Context) (s *Slot, err error) {
	err = c.do(ctx, func(ctx context.Context) (err error) {
		s, err = c.read(ctx)
		return err
	})
	return s, err
}

// read returns the slot; its Type is "" if the slot does not exist.
func (c *command) read(ctx context.Context) (*Slot, error) {
	s := &Slot{Name: c.Slot, Place: postgres.Place(c.db.Conn)}
	// A column that only newer versions have is read through to_jsonb.
	err := c.db.QueryRow(ctx, `
		select coalesce(s.plugin, ''), s.slot_type, coalesce(s.database, ''), coalesce(s.database <> pg_catalog.current_database(), false), s.active, coalesce(s.active_pid, 0),
		       coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''),
		       coalesce(s.wal_status, ''), coalesce(to_jsonb(s) ->> 'invalidation_reason', ''),
		       coalesce(s.restart_lsn::text, ''), coalesce(s.confirmed_flush_lsn::text, ''),
		       greatest(coalesce(e.lsn - s.restart_lsn, 0), 0)::bigint, greatest(coalesce(e.lsn - s.confirmed_flush_lsn, 0), 0)::bigint,
		       case when s.safe_wal_size is not null then greatest(s.safe_wal_size, 0) end -- greatest() passes NULL over
		from pg_catalog.pg_replication_slots s
		  left join pg_catalog.pg_stat_activity a on a.pid = s.active_pid,
		  (select case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_lsn() end) e (lsn)
		where s.slot_name = $1`, c.Slot).
		Scan(&s.Plugin, &s.Type, &s.Database, &s.foreign, &s.Active, &s.PID, &s.Application, &s.Address, &s.WALStatus, &s.Reason,
			&s.RestartLSN, &s.ConfirmedFlushLSN, &s.RetainedBytes, &s.LagBytes, &s.SafeWALSize)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("look up slot %s: %w", c.Slot, err)
	}
	s.Recorded, err = c.recorded(ctx)
	return s, err
}

// recorded returns the slot's row of walpost.relay_state. It returns nil if there is none, or no schema walpost.
func (c *command) recorded(ctx context.Context) (*Recorded, error) {
	var r Recorded
	err := c.db.QueryRow(ctx, `select phase, coalesce(confirmed_lsn::text, ''), confirmed_commit_time, clean_stop, updated_at from walpost.relay_state where slot = $1`,
		c.Slot).Scan(&r.Phase, &r.Confirmed, &r.CommitTime, &r.CleanStop, &r.UpdatedAt)
	switch {
	case errors.Is(err, pgx.ErrNoRows), pgerror.IsSQLState(err, "42P01", "3F000"):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read state of slot %s: %w", c.Slot, err)
	}
	return &r, nil
}
