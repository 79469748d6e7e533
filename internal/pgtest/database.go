package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	superuser   = "postgres"
	maintenance = "postgres" // the database that always exists
)

// CreateDatabase creates an empty database on the server.
func (s *Server) CreateDatabase(ctx context.Context, name string) error {
	return createDatabase(ctx, s.DSN(maintenance), name)
}

// DropDatabase drops a database, and ends everything that prevents that: its sessions, replication slots and prepared transactions. It is
// not an error if the database does not exist.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	return dropDatabase(ctx, s.DSN(maintenance), name)
}

// session runs do on a connection of its own.
func session(ctx context.Context, dsn string, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return do(conn)
}

func createDatabase(ctx context.Context, dsn, name string) error {
	return session(ctx, dsn, func(conn *pgx.Conn) error {
		// A session in template1 would make this fail; nobody ever connects to template0.
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+quote(name)+" TEMPLATE template0"); err != nil {
			return fmt.Errorf("create database %s: %w", name, err)
		}
		return nil
	})
}

func dropDatabase(ctx context.Context, dsn, name string) error {
	return session(ctx, dsn, func(conn *pgx.Conn) error {
		if err := dropSlots(ctx, conn, name); err != nil {
			return fmt.Errorf("drop the slots of database %s: %w", name, err)
		}
		if err := rollbackPrepared(ctx, conn, dsn, name); err != nil {
			return fmt.Errorf("roll back prepared transactions in database %s: %w", name, err)
		}
		if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
			return fmt.Errorf("drop database %s: %w", name, err)
		}
		return nil
	})
}

// dropSlots ends the walsenders of the database's slots and drops the slots. A relay that still runs may connect to its slot again between
// the two steps, so dropSlots repeats them until no slot is left.
func dropSlots(ctx context.Context, conn *pgx.Conn, db string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := dropIdleSlots(ctx, conn, db)
		if left == 0 || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d slots stay active: %w", left, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func dropIdleSlots(ctx context.Context, conn *pgx.Conn, db string) (left int, err error) {
	type slot struct {
		Name   string
		Active *int32
	}
	rows, err := conn.Query(ctx, "SELECT slot_name::text, active_pid FROM pg_replication_slots WHERE database = $1", db)
	if err != nil {
		return 0, err
	}
	slots, err := pgx.CollectRows(rows, pgx.RowToStructByPos[slot])
	if err != nil {
		return 0, err
	}
	for _, s := range slots {
		if s.Active != nil {
			_, err = conn.Exec(ctx, "SELECT pg_terminate_backend($1)", *s.Active)
		} else {
			_, err = conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", s.Name)
		}
		// object_in_use: the slot has become active since the query. undefined_object: a temporary slot was dropped with its session.
		if err != nil && !hasCode(err, "55006", "42704") {
			return 0, fmt.Errorf("slot %s: %w", s.Name, err)
		}
	}
	return len(slots), nil
}

// rollbackPrepared rolls back the database's prepared transactions. DROP DATABASE with FORCE does not do that, and it is only possible from
// inside the database.
func rollbackPrepared(ctx context.Context, conn *pgx.Conn, dsn, db string) error {
	rows, err := conn.Query(ctx, "SELECT gid FROM pg_prepared_xacts WHERE database = $1", db)
	if err != nil {
		return err
	}
	gids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(gids) == 0 {
		return err
	}
	inside, err := withDatabase(dsn, db)
	if err != nil {
		return err
	}
	return session(ctx, inside, func(conn *pgx.Conn) error {
		for _, gid := range gids {
			literal := "'" + strings.ReplaceAll(gid, "'", "''") + "'"
			if _, err := conn.Exec(ctx, "ROLLBACK PREPARED "+literal); err != nil {
				return err
			}
		}
		return nil
	})
}

// withDatabase returns the DSN, a URL or keywords, with another database.
func withDatabase(dsn, db string) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn + " dbname=" + db, nil // if a keyword is repeated, the last one counts
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("read the DSN: %w", err)
	}
	query := u.Query()
	query.Del("dbname") // it would override the path
	u.Path, u.RawPath, u.RawQuery = "/"+db, "", query.Encode()
	return u.String(), nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func hasCode(err error, codes ...string) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return false
	}
	for _, code := range codes {
		if pgErr.Code == code {
			return true
		}
	}
	return false
}
