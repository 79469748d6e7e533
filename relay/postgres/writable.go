package postgres

import (
	"context"
	"errors"
	"fmt"

	"walpost/relay/pgerror"
	"walpost/schema"
)

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
