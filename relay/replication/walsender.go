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

// Walsender is a replication connection before it streams: it takes the protocol's commands. It belongs to one goroutine.
type Walsender struct {
	conn    *pgconn.PgConn
	notices *notices
}

// Connect connects for replication. Errors are those of package pgerror, not yet classified.
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
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { _ = w.notices.take(n) } // nothing is fatal before it streams
	if w.conn, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
		return nil, pgerror.ConnectError(err, cfg)
	}
	return w, nil
}

// PID returns the server's process.
func (w *Walsender) PID() uint32 { return w.conn.PID() }

// RemoteAddr returns where the server is.
func (w *Walsender) RemoteAddr() net.Addr { return w.conn.Conn().RemoteAddr() }

// Close closes the connection. A command that is under way is cancelled.
func (w *Walsender) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	w.conn.Close(ctx)
	// A command that was broken off is cancelled at the server in the background: a slot that is waited for would still be made.
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
		return nil, errors.New("the answer is not one row of the expected shape")
	}
	return results[0].Rows[0], nil
}
