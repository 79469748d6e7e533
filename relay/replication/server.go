package replication

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"walpost/relay/postgres"
)

// Server is what a walsender says of itself and its server.
type Server struct {
	SystemID     string
	History      History
	database     string
	Version      int           // server_version_num
	Timeout      time.Duration // wal_sender_timeout; 0: none
	BackendStart string        // when this walsender began, which with its pid says which one it is
}

// Identity returns what walpost.relay_state records of the server.
func (s *Server) Identity() postgres.Identity {
	return postgres.Identity{SystemID: s.SystemID, Timeline: s.History.Current, Database: s.database}
}

// WalsenderID returns who the walsender is that said this of itself.
func (s *Server) WalsenderID(w *Walsender) postgres.WalsenderID {
	return postgres.WalsenderID{SystemID: s.SystemID, PID: w.PID(), BackendStart: s.BackendStart}
}

// StatusPeriod returns how often a status has to go out: three times within wal_sender_timeout, or the server takes this side for dead; three
// times within silence, so that a walsender that has nothing to do is heard within that; and every 5 s at least.
func (s *Server) StatusPeriod(silence time.Duration) time.Duration {
	period := min(statusPeriod, silence/3)
	if s.Timeout > 0 {
		period = min(period, s.Timeout/3)
	}
	return period
}

// Identify asks the server who it is: system identifier, timelines, version. A standby is [postgres.ErrElsewhere], whatever server other
// connections have reached: slots are neither made nor streamed there.
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
		return s, nil // nothing came before the first timeline, and the server has no file that would say so
	}
	row, err = w.query(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", timeline), 2)
	if err != nil {
		return s, fmt.Errorf("read history of timeline %d: %w", timeline, err)
	}
	s.History.past, err = parseHistory(row[1])
	return s, err
}
