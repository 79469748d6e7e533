package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/schema"
)

// Walsender is a replication connection before it streams. It is the only thing here that speaks the protocol's commands.
type Walsender struct {
	conn    *pgconn.PgConn
	notices *notices
}

// Server is what a walsender says of itself.
type Server struct {
	SystemID     string
	History      History
	database     string
	Version      int           // server_version_num
	Timeout      time.Duration // wal_sender_timeout; 0: none
	BackendStart string        // when this walsender began, which with its pid says which one it is
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

// Identify asks the server who it is.
func (w *Walsender) Identify(ctx context.Context) (s Server, err error) {
	row, err := w.query(ctx, "IDENTIFY_SYSTEM", 4)
	if err != nil {
		return s, fmt.Errorf("identify system: %w", err)
	}
	timeline, err := strconv.ParseUint(string(row[1]), 10, 32)
	if err != nil {
		return s, fmt.Errorf("identify system: timeline: %w", err)
	}
	s = Server{SystemID: string(row[0]), database: string(row[3]), History: History{Current: uint32(timeline)}}
	row, err = w.query(ctx, `SELECT current_setting('server_version_num'), setting, `+
		`(SELECT backend_start::text FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()) `+
		`FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'`, 3)
	if err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	version, err1 := strconv.Atoi(string(row[0]))
	timeout, err2 := strconv.Atoi(string(row[1]))
	if err := errors.Join(err1, err2); err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	s.Version, s.Timeout, s.BackendStart = version, time.Duration(timeout)*time.Millisecond, string(row[2])
	if timeline == 1 {
		return s, nil // nothing came before the first timeline, and the server has no file that would say so
	}
	row, err = w.query(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", timeline), 2)
	if err != nil {
		return s, fmt.Errorf("read history of timeline %d: %w", timeline, err)
	}
	s.History.past, err = parseHistory(row[1])
	return s, err
}

// StatusPeriod returns how often a status goes out: a server's patience must hold for three.
func (s *Server) StatusPeriod() time.Duration {
	if s.Timeout > 0 {
		return min(statusPeriod, s.Timeout/3)
	}
	return statusPeriod
}

// Snapshot is the state of the database at the point where a new slot begins.
type Snapshot struct {
	LSN  pglogrepl.LSN // everything committed before is in the snapshot, everything after is in the slot
	Name string        // for SET TRANSACTION SNAPSHOT, until the next command on the walsender that made it
}

// CreateSlot creates a slot, on a server of that version. It waits for every transaction of the cluster that is writing at this moment, so it may
// take long. Then it logs what it waits for, and tells waiting if that is not nil.
func (w *Walsender) CreateSlot(ctx context.Context, slot string, temporary bool, version int, waiting func(reason string)) (s Snapshot, err error) {
	defer w.warnOfWaiting(waiting).Stop()
	// A server that does not notice our death while it waits would make the slot later, for nobody. The setting counts from the second
	// statement on. A server that cannot look on its system refuses it.
	for _, sql := range []string{"SET client_connection_check_interval = '1s'", "SELECT 1"} {
		if err := w.conn.Exec(ctx, sql).Close(); err != nil && !pgerror.IsSQLState(err, "22023") {
			return s, fmt.Errorf("create slot %s: %w", slot, err)
		}
	}
	sql := "CREATE_REPLICATION_SLOT " + pgx.Identifier{slot}.Sanitize()
	if temporary {
		sql += " TEMPORARY"
	}
	if sql += " LOGICAL pgoutput "; version >= 15_00_00 {
		sql += "(SNAPSHOT 'export')"
	} else {
		sql += "EXPORT_SNAPSHOT"
	}
	row, err := w.query(ctx, sql, 3)
	if err != nil {
		return s, fmt.Errorf("create slot %s: %w", slot, err)
	}
	s.Name = string(row[2])
	if s.LSN, err = pglogrepl.ParseLSN(string(row[1])); err != nil {
		return s, fmt.Errorf("create slot %s: %w", slot, err)
	}
	return s, nil
}

// startLimit bounds how long a server may take to agree to stream.
const startLimit = 30 * time.Second

// Start asks the server to stream and hands the connection over to a stream; the walsender is of no use any more. The position asked
// for is 0/0, which means where the slot stands: a higher one would be taken without a check and skip what lies before it.
func (w *Walsender) Start(ctx context.Context, slot, publication string, binary bool) (*Stream, error) {
	hijacked, err := w.conn.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	s := NewStream(hijacked.Conn, w.notices.take)
	w.notices.streaming = true
	stop := context.AfterFunc(ctx, func() { s.Interrupt(ErrLeave) })
	defer stop()
	if err := s.begin(startCommand(slot, publication, binary)); err != nil {
		hijacked.Conn.Close()
		return nil, fmt.Errorf("start replication from slot %s: %w", slot, err)
	}
	return s, nil
}

// startCommand is START_REPLICATION with pgoutput's options. Names are always quoted: the replication grammar knows no other way to write some. The publication is an identifier in a list in a literal.
func startCommand(slot, publication string, binary bool) string {
	options := "proto_version '1', publication_names " + schema.QuoteLiteral(pgx.Identifier{publication}.Sanitize())
	if binary { // pays for bytea, which is twice as long in text
		options += ", binary 'true'"
	}
	return "START_REPLICATION SLOT " + pgx.Identifier{slot}.Sanitize() + " LOGICAL 0/0 (" + options + ")"
}

// begin sends the command and reads until the server agrees.
func (s *Stream) begin(command string) error {
	query, err := (&pgproto3.Query{String: command}).Encode(nil)
	if err != nil {
		return err
	}
	if err := s.send(query, startLimit); err != nil {
		return err
	}
	if err := s.setLimit(time.Now().Add(startLimit)); err != nil {
		return err
	}
	for {
		m, err := s.Next()
		if err == nil && m.Kind == Incomplete {
			err = s.Fill()
		}
		switch {
		case err != nil:
			return err
		case m.Kind == Started:
			return s.setLimit(time.Time{})
		}
	}
}

// notices takes what the server says besides.
type notices struct {
	log       *slog.Logger
	names     pgerror.Names
	streaming bool
}

// take logs a notice. It returns a fault for the one that tells of loss: since 18 a publication that does not exist at this point of the
// WAL costs its rows and gives a mere warning, "skipped loading publication". The text is translated and its SQLSTATE also stands for the
// harmless warning that a standby of synchronized_standby_slots is away, so the source file decides.
func (n *notices) take(notice *pgconn.Notice) error {
	if n.streaming && notice.Code == "55000" && strings.HasSuffix(notice.File, "pgoutput.c") {
		return pgerror.PublicationGap((*pgconn.PgError)(notice), n.names)
	}
	n.log.Warn("the server says", "notice", notice.Message, "severity", notice.Severity, "sqlstate", notice.Code)
	return nil
}

// warnOfWaiting says what the creation of a slot waits for, unless the timer is stopped before that is worth a line.
func (w *Walsender) warnOfWaiting(waiting func(reason string)) *time.Timer {
	return time.AfterFunc(3*time.Second, func() {
		const reason = "creating the slot waits for the end of all transactions that are writing, in any database of the cluster"
		if waiting != nil {
			waiting(reason)
		}
		w.notices.log.Warn(reason, "see", "SELECT pid, datname, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start")
	})
}

// Identity returns what is recorded of the server.
func (s *Server) Identity() postgres.Identity {
	return postgres.Identity{SystemID: s.SystemID, Timeline: s.History.Current, Database: s.database}
}
