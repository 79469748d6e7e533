package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"

	"walpost/internal/reason"
	"walpost/relay/pgerror"
)

// errInRecovery means that the server is a standby.
var errInRecovery error = &pgerror.Wait{Err: errors.New("the server is a standby: waiting for its promotion"), Code: reason.PostgresIsStandby, Cure: pgerror.Promote}

// ErrElsewhere means that a connection reached a standby, although the relay's own connection reached the primary: one host name leads to
// both.
var ErrElsewhere error = &pgerror.Wait{
	Code: reason.PostgresIsStandby,
	Err:  errors.New("the host in postgres.url leads to a standby as well as to the primary, and this connection reached a standby"),
	Cure: "name only the primary, by a host name that leads to no other server; if postgres.url names several hosts, add target_session_attrs=read-write to find the primary",
}

// RequirePrimary returns [ErrElsewhere] if the connection leads to a standby.
func (d *DB) RequirePrimary(ctx context.Context) error {
	standby, err := d.isStandby(ctx)
	if err == nil && standby {
		err = ErrElsewhere
	}
	return err
}

func (d *DB) isStandby(ctx context.Context) (standby bool, err error) {
	if err = d.QueryRow(ctx, "select pg_catalog.pg_is_in_recovery()").Scan(&standby); err != nil {
		err = fmt.Errorf("ask whether the server is a standby: %w", err)
	}
	return standby, err
}

// CheckServer checks the server's version and wal_level, and that it is the primary. For a standby it returns a wait for its promotion.
func (src *Source) CheckServer(ctx context.Context, db *DB, p *Found) error {
	var level, at string
	var standby bool
	err := db.QueryRow(ctx, `
		select current_setting('server_version_num')::int, coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')),
		       pg_catalog.pg_is_in_recovery(), case when pg_catalog.pg_is_in_recovery() then '0/0' else pg_catalog.pg_current_wal_flush_lsn()::text end`).
		Scan(&p.Version, &level, &standby, &at)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if p.At, err = pglogrepl.ParseLSN(at); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	src.Connected = true
	switch {
	case p.Version < 14_00_00:
		return pgerror.Permanent(reason.PostgresUnsuitable, fmt.Errorf("the server is Postgres %d", p.Version/10000), "walpost needs 14 or later")
	case standby: // a promotion makes it the primary
		return errInRecovery
	case level != "logical" && p.Version < 19_00_00:
		return pgerror.Permanent(reason.WALLevel, fmt.Errorf("wal_level is %s", level), "run: ALTER SYSTEM SET wal_level = logical, and restart the server")
	}
	return nil
}

// CheckPrimary checks the server as CheckServer does, for commands: they do not wait for the promotion of a standby.
func (src *Source) CheckPrimary(ctx context.Context, db *DB, found *Found) error {
	err := src.CheckServer(ctx, db, found)
	if errors.Is(err, errInRecovery) {
		return pgerror.Permanent(reason.PostgresIsStandby, errors.New("the server is a standby"), "connect to its primary")
	}
	return err
}
