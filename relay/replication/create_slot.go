package replication

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"walpost/relay/pgerror"
)

// Snapshot identifies the exported snapshot of a new slot.
type Snapshot struct {
	LSN  pglogrepl.LSN // transactions committed before it are in the snapshot, later ones in the slot
	Name string        // for SET TRANSACTION SNAPSHOT; valid until the next command on the walsender that exported it
}

// CreateSlot creates a slot, on a server of that version. Postgres waits for the end of all transactions in the cluster that are writing,
// so this may take long. If it does, CreateSlot logs what it waits for, and calls waiting unless that is nil.
func (w *Walsender) CreateSlot(ctx context.Context, slot string, temporary bool, version int, waiting func(reason string)) (s Snapshot, err error) {
	defer w.warnOfWaiting(waiting).Stop()
	// If walpost dies during this wait and the server does not notice, the server creates a slot that nobody uses. This setting makes the
	// server check the connection while it waits. It takes effect from the second statement on. A server whose system has no such check
	// refuses it with 22023.
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

// warnOfWaiting logs after three seconds what the creation of a slot waits for, unless the timer is stopped before.
func (w *Walsender) warnOfWaiting(waiting func(reason string)) *time.Timer {
	return time.AfterFunc(3*time.Second, func() {
		const reason = "creating the slot waits for the end of all transactions that are writing, in any database of the cluster"
		if waiting != nil {
			waiting(reason)
		}
		w.notices.log.Warn(reason, "see", "SELECT pid, datname, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start")
	})
}
