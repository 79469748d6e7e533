package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/need"
)

// Standby starts a physical standby of the server, which ends with the test. When Standby returns, the standby answers queries and replays
// the server's WAL.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	standby, err := s.LaunchStandby(t.Context())
	need.Met(t, err)
	t.Cleanup(func() { closeWith(t, standby) })
	return standby
}

// LaunchStandby is like [Server.Standby] without a test: Close ends the standby. The standby has a physical slot on the server and the
// server's settings. To change settings, use ALTER SYSTEM on the server before, or change the standby's folder later.
//
// The downloaded binaries do not include pg_basebackup. So this makes the backup with the backup functions and a copy of the files.
func (s *Server) LaunchStandby(ctx context.Context) (*Server, error) {
	home, err := child.NewHome("walpost-postgres-standby-", s.home.User())
	if err != nil {
		return nil, fmt.Errorf("make a folder for a standby: %w", err)
	}
	standby := &Server{home: home, binaries: s.binaries, ca: s.ca}
	if err := standby.restore(ctx, s); err != nil {
		return nil, errors.Join(fmt.Errorf("copy Postgres %s: %w", s.Version(), err), home.Close())
	}
	if err := standby.firstStart(ctx); err != nil {
		return nil, errors.Join(err, home.Close())
	}
	return standby, nil
}

// restore fills the data folder from a running server.
func (s *Server) restore(ctx context.Context, primary *Server) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return session(ctx, primary.DSN(maintenance), func(conn *pgx.Conn) error {
		begin, end := "select pg_backup_start('standby', fast => true)", "select labelfile from pg_backup_stop(wait_for_archive => false)"
		if primary.Major() < 15 {
			begin, end = "select pg_start_backup('standby', true, false)", "select labelfile from pg_stop_backup(false, false)"
		}
		slot := "standby_" + strings.TrimPrefix(filepath.Base(s.home.Dir()), "walpost-postgres-standby-")
		if _, err := conn.Exec(ctx, "select pg_create_physical_replication_slot($1, true)", slot); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, begin); err != nil {
			return err
		}
		if err := s.copyData(primary); err != nil {
			return err
		}
		var label string
		if err := conn.QueryRow(ctx, end).Scan(&label); err != nil {
			return err
		}
		auto, err := os.ReadFile(primary.home.Path(dataDir, "postgresql.auto.conf"))
		if err != nil {
			return err
		}
		source := fmt.Sprintf("primary_conninfo = 'host=127.0.0.1 port=%d user=%s dbname=%s'\nprimary_slot_name = '%s'\nhot_standby_feedback = on\n",
			primary.port, superuser, maintenance, slot)
		for name, text := range map[string]string{"backup_label": label, "standby.signal": "", "postgresql.auto.conf": string(auto) + source} {
			if _, err := s.home.WriteFile(dataDir+"/"+name, []byte(text)); err != nil {
				return err
			}
		}
		return nil
	})
}

// notCopied are files and folders that belong to one server only, or whose content is streamed to the standby.
var notCopied = []string{"postmaster.pid", "postmaster.opts", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans", "pg_wal"}

// copyData copies the files of a server in backup mode. Files may appear, change and disappear meanwhile: replaying the WAL repairs that.
func (s *Server) copyData(primary *Server) error {
	from, to := primary.home.Path(dataDir), s.home.Path(dataDir)
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		top, inside, _ := strings.Cut(filepath.ToSlash(name), "/")
		switch skipped := slices.Contains(notCopied, top); {
		case skipped && (inside != "" && !(top == "pg_wal" && entry.IsDir()) || !entry.IsDir()):
			return nil
		case entry.IsDir():
			if err := os.Mkdir(target, 0o700); err != nil {
				return err
			}
			return s.home.Own(target)
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = s.home.WriteFile(filepath.Join(dataDir, name), data)
		return err
	})
}
