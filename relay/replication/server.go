package replication

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"walpost/relay/postgres"
)

// Server is what a walsender reports about itself and its server.
type Server struct {
	SystemID     string
	History      History
	database     string
	Version      int           // server_version_num
	Timeout      time.Duration // wal_sender_timeout; 0: none
	BackendStart string        // when this walsender began; with the pid it identifies the walsender
}

// Identity returns what walpost.relay_state records of the server.
func (s *Server) Identity() postgres.Identity {
	return postgres.Identity{SystemID: s.SystemID, Timeline: s.History.Current, Database: s.database}
}

// WalsenderID returns the identity of w, the walsender that s describes.
func (s *Server) WalsenderID(w *Walsender) postgres.WalsenderID {
	return postgres.WalsenderID{SystemID: s.SystemID, PID: w.PID(), BackendStart: s.BackendStart}
}

// StatusPeriod returns the time between two statuses. It is at most 5 s. It is at most a third of wal_sender_timeout, after which the
// server ends the session. And it is at most a third of silence, so that an idle walsender replies within that time.
func (s *Server) StatusPeriod(silence time.Duration) time.Duration {
	period := min(statusPeriod, silence/3)
	if s.Timeout > 0 {
		period = min(period, s.Timeout/3)
	}
	return period
}

// Identify reads the server's system identifier, timelines, version and time-out. For a standby it returns [postgres.ErrElsewhere],
// whichever server other connections have reached, because walpost neither creates nor streams slots there.
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
		`(SELECT backend_start::text FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()), pg_catalog.pg_is_in_recovery() `+
		`FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'`, 4)
	if err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	if string(row[3]) == "t" {
		return s, fmt.Errorf("identify system: %w", postgres.ErrElsewhere)
	}
	version, err1 := strconv.Atoi(string(row[0]))
	timeout, err2 := strconv.Atoi(string(row[1]))
	if err := errors.Join(err1, err2); err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	s.Version, s.Timeout, s.BackendStart = version, time.Duration(timeout)*time.Millisecond, string(row[2])
	if timeline == 1 {
		return s, nil // the first timeline has no predecessor, and so the server has no history file for it
	}
	row, err = w.query(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", timeline), 2)
	if err != nil {
		return s, fmt.Errorf("read history of timeline %d: %w", timeline, err)
	}
	s.History.past, err = parseHistory(row[1])
	return s, err
}
