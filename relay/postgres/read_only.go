package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"walpost/internal/reason"
	"walpost/relay/pgerror"
	"walpost/schema"
)

// write runs one statement that writes walpost.relay_state, in a READ WRITE transaction.
//
// A managed server whose disk is full makes transactions read-only by default. If the relay stopped because of that, it would not drain the
// slot whose WAL fills the disk. So it overrides the default for its own few bytes, and for nothing else.
func (d *DB) write(ctx context.Context, sql string, args ...any) error {
	return pgx.BeginTxFunc(ctx, d.Conn, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql, args...)
		return err
	})
}

// ReadOnly describes the setting that makes transactions read-only by default, and its cure.
type ReadOnly struct {
	Err  error
	Cure string
}

// ReadReadOnly returns which setting makes the transactions of the connection read-only by default; nil: they may write.
func ReadReadOnly(ctx context.Context, db *DB) (*ReadOnly, error) {
	var closed bool
	var source string
	err := db.QueryRow(ctx, `
		select pg_catalog.current_setting('transaction_read_only')::bool, coalesce((select source from pg_catalog.pg_settings where name = 'default_transaction_read_only'), '')`).
		Scan(&closed, &source)
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	if !closed {
		return nil, nil
	}
	role, database := schema.QuoteIdent(db.Config().User), schema.QuoteIdent(db.Config().Database)
	cure := map[string]string{
		"client":        "remove default_transaction_read_only from the connection string and PGOPTIONS",
		"user":          "run: ALTER ROLE " + role + " RESET default_transaction_read_only",
		"database user": "run: ALTER ROLE " + role + " IN DATABASE " + database + " RESET default_transaction_read_only",
		"database":      "run: ALTER DATABASE " + database + " RESET default_transaction_read_only",
		"global":        "run: ALTER ROLE ALL RESET default_transaction_read_only",
	}[source]
	if cure == "" {
		cure = "free space on the disk, if the server became read-only because the disk was full; then run: ALTER SYSTEM SET default_transaction_read_only = off, and SELECT pg_reload_conf()"
	}
	return &ReadOnly{errors.New("transactions of the role " + role + " are read-only by default (default_transaction_read_only)"), cure}, nil
}

// noPublicationMade returns why a first start waits: it would have to create the publication, which is not walpost's own state.
func (r *ReadOnly) noPublicationMade(src *Source) error {
	return &pgerror.Wait{Err: fmt.Errorf("publication %s does not exist, and %w", schema.QuoteIdent(src.Publication), r.Err), Code: reason.PostgresReadOnly, Cure: r.Cure}
}

// CheckCreatable checks that transactions may write, so that a missing publication can be created.
func (src *Source) CheckCreatable(ctx context.Context, db *DB) error {
	closed, err := ReadReadOnly(ctx, db)
	if err == nil && closed != nil {
		err = closed.noPublicationMade(src)
	}
	return err
}
