package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walpost/schema"
)

// lockKey is the key of the advisory lock for changes of the schema: "walpost" in ASCII. Slots have other locks.
const lockKey = 0x77616c706f7374

// Apply runs the commands of schema.Statements(o) in one transaction and under an advisory lock, so that several may run at the same time
// with the same result. It fills in o.Columns and o.Database from the database. It does not alter an existing outbox. If the columns of
// that do not fit, or if the schema has a newer version, it returns an error and changes nothing.
//
// It waits 3 seconds for a lock, that of another Apply included, and starts again a few times. If that does not help, the error names the sessions that held
// the lock, which Apply finds out over a second connection.
func Apply(ctx context.Context, conn *pgx.Conn, o schema.Options) error {
	return applyWith(ctx, conn, o, defaultPatience)
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
	// With an empty search_path, Postgres prints the schema of every type that is not built in. Notices would only say what exists already.
	if _, err := tx.Exec(ctx, `set local search_path = ''`); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `set local client_min_messages = warning`); err != nil {
		return err
	}
	// It holds for every lock, because other sessions wait behind the locks that this waits for.
	if _, err := tx.Exec(ctx, fmt.Sprintf(`set local lock_timeout = %d`, wait.Milliseconds())); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `select pg_catalog.pg_advisory_xact_lock($1)`, int64(lockKey)); err != nil {
		return fmt.Errorf("wait for another schema apply: %w", err)
	}
	found, err := version(ctx, tx)
	if err != nil {
		return err
	}
	if found > schema.Version {
		return fmt.Errorf("it has version %d, and this walpost knows version %d: use a newer walpost", found, schema.Version)
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

// checkInbox refuses an inbox of version 1 that has rows, because every claim() would wait while its key is rebuilt.
func checkInbox(ctx context.Context, tx pgx.Tx) error {
	for _, query := range []string{schema.QueryOldInbox, schema.QueryInboxRows} {
		var yes bool
		if err := tx.QueryRow(ctx, query).Scan(&yes); err != nil {
			return fmt.Errorf("check table walpost.inbox: %w", err)
		}
		if !yes {
			return nil
		}
	}
	return fmt.Errorf("table walpost.inbox has the form of version 1 and has rows, and claim() has to wait while its key is rebuilt; at a quiet time, run: %s; "+
		"then apply again", schema.InboxUpgrade)
}

// complete fills in the database's name, and the outbox's columns if the table exists.
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

// withCure adds the cure to an error of the server.
func withCure(o schema.Options, err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Code {
	case "42501": // insufficient_privilege
		if o.OnlyInbox {
			return fmt.Errorf("%w; apply it as a role that may create schemas in the database and owns all that is in schema walpost, or let an administrator run what "+
				"`walpost schema print --only inbox` prints", err)
		}
		return fmt.Errorf("%w; apply it as a role that may create schemas and publications in the database, owns the outbox and all that is "+
			"in schema walpost, and may alter the relay's role, or let an administrator run what `walpost schema print` prints", err)
	case "25006": // read_only_sql_transaction
		return fmt.Errorf("%w; this server is a standby or read-only: connect to the primary", err)
	case "42704": // undefined_object
		if !strings.Contains(refused.Routine, "role") {
			return err
		}
		return fmt.Errorf("%w; create the role first, for example: create role NAME login password '...'", err)
	}
	return err
}
