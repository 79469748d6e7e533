package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"

	"walpost/relay/pgerror"
	"walpost/schema"
)

// errInRecovery says that the server is a standby.
var errInRecovery error = &pgerror.Wait{Err: errors.New("the server is a standby: waiting for its promotion"), Cure: pgerror.Promote}

// ErrElsewhere says that a connection reached a standby although the relay's own reached the primary: one host name leads to both.
var ErrElsewhere error = &pgerror.Wait{
	Err:  errors.New("the host in postgres.url leads to a standby as well as to the primary, and this connection reached a standby"),
	Cure: "name the primary alone, or a name that leads nowhere else; of several hosts, target_session_attrs=read-write in postgres.url finds it",
}

// RequirePrimary returns [ErrElsewhere] if the connection leads to a standby.
func (d *DB) RequirePrimary(ctx context.Context) error {
	var standby bool
	if err := d.QueryRow(ctx, "select pg_catalog.pg_is_in_recovery()").Scan(&standby); err != nil {
		return fmt.Errorf("ask whether the server is a standby: %w", err)
	}
	if standby {
		return ErrElsewhere
	}
	return nil
}

// CheckServer checks what the server is and what it was set up for. A standby is a wait for its promotion.
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
		return pgerror.Permanent(fmt.Errorf("the server is Postgres %d", p.Version/10000), "walpost needs 14 or later")
	case standby: // a promotion makes it the one
		return errInRecovery
	case level != "logical" && p.Version < 19_00_00:
		return pgerror.Permanent(fmt.Errorf("wal_level is %s", level), "run: ALTER SYSTEM SET wal_level = logical, and restart the server")
	}
	return nil
}

// CheckPrimary checks the server as a start does. Its promotion only a relay waits for.
func (src *Source) CheckPrimary(ctx context.Context, db *DB, found *Found) error {
	err := src.CheckServer(ctx, db, found)
	if errors.Is(err, errInRecovery) {
		return pgerror.Permanent(errors.New("the server is a standby"), "connect to its primary")
	}
	return err
}

// CheckWritable checks that the role's transactions may write, as recording the state of the slot takes. A relay that has streamed waits:
// closing a database to writers for a while is how people move one.
func (src *Source) CheckWritable(ctx context.Context, db *DB, streamed bool) error {
	var closed bool
	var source string
	err := db.QueryRow(ctx, `
		select pg_catalog.current_setting('transaction_read_only')::bool, coalesce((select source from pg_catalog.pg_settings where name = 'default_transaction_read_only'), '')`).
		Scan(&closed, &source)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if !closed {
		return nil
	}
	role, database := schema.QuoteIdent(src.Names.Role), schema.QuoteIdent(db.Config().Database)
	err = errors.New("transactions of the role " + role + " may not write: default_transaction_read_only is on")
	cure := map[string]string{
		"client":        "take default_transaction_read_only out of the connection string and PGOPTIONS",
		"user":          "run: ALTER ROLE " + role + " RESET default_transaction_read_only",
		"database user": "run: ALTER ROLE " + role + " IN DATABASE " + database + " RESET default_transaction_read_only",
		"database":      "run: ALTER DATABASE " + database + " RESET default_transaction_read_only",
		"global":        "run: ALTER ROLE ALL RESET default_transaction_read_only",
	}[source]
	if cure == "" {
		cure = "run: ALTER SYSTEM SET default_transaction_read_only = off, then SELECT pg_reload_conf()"
	}
	if streamed {
		return &pgerror.Wait{Err: err, Cure: cure}
	}
	return pgerror.Permanent(err, "%s", cure)
}
