package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walpost/schema"
)

// lockKey is the advisory lock under which the schema is changed: "walpost" in ASCII. Slots have locks of their own.
const lockKey = 0x77616c706f7374

// Apply makes what schema.Statements(o) lists, in one transaction and under an advisory lock, so that any number may run at once and
// each leaves the same behind. It fills in o.Columns and o.Database from the database. A table that is there already is not altered;
// one whose columns do not fit is an error, and nothing is made. So is a schema of a newer version.
//
// It waits for the lock of a table for 3 seconds, and begins again a few times. The error then names the sessions that held it, which a
// second connection has asked for.
func Apply(ctx context.Context, conn *pgx.Conn, o schema.Options) error {
	return applyWith(ctx, conn, o, usual)
}

func applyWith(ctx context.Context, conn *pgx.Conn, o schema.Options, p patience) error {
	begun := false
	err := p.try(ctx, conn.Config(), func(started func(pid int)) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
			begun = true
			var pid int
			if err := tx.QueryRow(ctx, `select pg_catalog.pg_backend_pid()`).Scan(&pid); err != nil {
				return err
			}
			started(pid)
			return apply(ctx, tx, o, p.wait)
		})
	})
	var refused *pgconn.PgError
	if !begun && errors.As(err, &refused) && refused.Code == "0A000" { // feature_not_supported: transactions that write
		return fmt.Errorf("apply schema walpost: %w; this server is a standby: connect to its primary", err)
	}
	if err != nil {
		return fmt.Errorf("apply schema walpost: %w", withCure(o, err))
	}
	return nil
}

func apply(ctx context.Context, tx pgx.Tx, o schema.Options, wait time.Duration) error {
	// An empty search_path makes Postgres print the schema of every type that is not its own. Notices say what was there already.
	if _, err := tx.Exec(ctx, `set local search_path = ''`); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `set local client_min_messages = warning`); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `select pg_catalog.pg_advisory_xact_lock($1)`, int64(lockKey)); err != nil {
		return fmt.Errorf("wait for whoever else applies it: %w", err)
	}
	// From here on others wait behind what this waits for.
	if _, err := tx.Exec(ctx, fmt.Sprintf(`set local lock_timeout = %d`, wait.Milliseconds())); err != nil {
		return err
	}
	found, err := version(ctx, tx)
	if err != nil {
		return err
	}
	if found > schema.Version {
		return fmt.Errorf("it is version %d, this walpost knows %d: use a newer walpost", found, schema.Version)
	}
	if err := checkInbox(ctx, tx); err != nil {
		return err
	}
	if !o.OnlyInbox {
		if o, err = complete(ctx, tx, o); err != nil {
			return err
		}
	}
	for _, s := range schema.Statements(o) {
		if err := execute(ctx, tx, s); err != nil {
			return fmt.Errorf("%s: %w", s.Object, err)
		}
	}
	return nil
}

// checkInbox refuses an inbox of version 1 that has rows: its key would be built anew while every claim() waits.
func checkInbox(ctx context.Context, tx pgx.Tx) error {
	for _, query := range []string{schema.QueryOldInbox, schema.QueryInboxRows} {
		var yes bool
		if err := tx.QueryRow(ctx, query).Scan(&yes); err != nil {
			return fmt.Errorf("look at table walpost.inbox: %w", err)
		}
		if !yes {
			return nil
		}
	}
	return fmt.Errorf("table walpost.inbox is that of version 1 and has rows, and claim() waits while its key is built anew; at a quiet time, run: %s; "+
		"then apply again", schema.InboxUpgrade)
}

// complete fills in what the database knows: its name, and the outbox's columns if the table is there.
func complete(ctx context.Context, db Querier, o schema.Options) (schema.Options, error) {
	if err := db.QueryRow(ctx, `select pg_catalog.current_database()::text`).Scan(&o.Database); err != nil {
		return o, fmt.Errorf("ask for the database's name: %w", err)
	}
	o = o.WithDefaults()
	described, err := Describe(ctx, db, o.Table)
	if absent := (*TableError)(nil); errors.As(err, &absent) && absent.Reason == doesNotExist {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	o.Columns = described.Columns
	_, err = o.Mapping.Plan(o.Table, o.Columns)
	return o, err
}

func execute(ctx context.Context, tx pgx.Tx, s schema.Statement) error {
	if s.Unless != "" {
		var done bool
		if err := tx.QueryRow(ctx, s.Unless).Scan(&done); err != nil || done {
			return err
		}
	}
	_, err := tx.Exec(ctx, s.SQL)
	return err
}

// withCure adds what a person can do about a refusal.
func withCure(o schema.Options, err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Code {
	case "42501": // insufficient_privilege
		if o.OnlyInbox {
			return fmt.Errorf("%w; apply it as a role that may create schemas in the database, or let an administrator run what "+
				"`walpost schema print --only inbox` prints", err)
		}
		return fmt.Errorf("%w; apply it as a role that may create schemas and publications in the database, owns the outbox and may "+
			"alter the relay's role, or let an administrator run what `walpost schema print` prints", err)
	case "25006": // read_only_sql_transaction
		return fmt.Errorf("%w; this server is a standby or read-only: connect to the primary", err)
	case "42704": // undefined_object
		return fmt.Errorf("%w; create the role first, for example: create role NAME login", err)
	}
	return err
}
