package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/relay/pgerror"
	"walpost/relay/postgres"
)

// Walsender is a replication connection before it streams: it accepts the commands of the replication protocol. It belongs to one
// goroutine.
type Walsender struct {
	conn    *pgconn.PgConn // nil: a stream has taken it over
	notices *notices
}

// Connect opens a replication connection. Its errors are those of [pgerror.ConnectError], not yet classified.
func Connect(ctx context.Context, connString string, n pgerror.Names, log *slog.Logger) (*Walsender, error) {
	cfg, err := pgconn.ParseConfig(connString)
	if err != nil {
		return nil, fmt.Errorf("read connection string: %w", err)
	}
	postgres.PrepareConfig(cfg)
	cfg.RuntimeParams["replication"] = "database"
	if cfg.RuntimeParams["wal_sender_timeout"] == "" && !strings.Contains(cfg.RuntimeParams["options"], "wal_sender_timeout") {
		cfg.RuntimeParams["wal_sender_timeout"] = "15s" // soon enough for a standby to take over from a frozen relay
	}
	w := &Walsender{notices: &notices{log: log, names: n}}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { _ = w.notices.take(n) } // no notice is fatal before it streams
	if w.conn, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
		return nil, pgerror.ConnectError(err, cfg)
	}
	if err := w.conn.Exec(ctx, sessionSettings).Close(); err != nil {
		w.Close()
		return nil, fmt.Errorf("set up the walsender: %w", err)
	}
	return w, nil
}

// sessionSettings overrides settings that suit services, and that the role, the database or the connection string may have.
//
// Since 18, a server only warns if the publication is missing at a point of the WAL, so warnings must be sent. Since 17,
// transaction_timeout ends a walsender that is sending a long transaction. The transaction that exports a slot's snapshot is idle until the
// snapshot is imported. The query leaves out settings that the server does not know.
const sessionSettings = `SELECT pg_catalog.set_config(s.name, v.value, false)
	FROM (VALUES ('client_min_messages', 'warning'), ('transaction_timeout', '0'), ('idle_in_transaction_session_timeout', '0')) v (name, value)
	JOIN pg_catalog.pg_settings s ON s.name = v.name`

// PID returns the pid of the server process.
func (w *Walsender) PID() uint32 { return w.conn.PID() }

// RemoteAddr returns the address of the server.
func (w *Walsender) RemoteAddr() net.Addr { return w.conn.Conn().RemoteAddr() }

// Close closes the connection, unless a stream has taken it over. It cancels a running command.
func (w *Walsender) Close() {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	w.conn.Close(ctx)
	// pgconn cancels a running command at the server in the background. Wait for that, or the server might still create a slot.
	select {
	case <-w.conn.CleanupDone():
	case <-ctx.Done():
	}
}

// query runs one command and returns its only result.
func (w *Walsender) query(ctx context.Context, sql string, columns int) ([][]byte, error) {
	results, err := w.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < columns {
		return nil, errors.New("the result is not a single row with the expected columns")
	}
	return results[0].Rows[0], nil
}
