package relay

import (
	"context"

	"walpost/relay/postgres"
)

// endPrevious ends the walsender of the session before, if that session broke off and the server has not noticed. Such a walsender holds the
// slot until wal_sender_timeout has passed, and there may be no such time-out: the new session would stand by behind its own predecessor. A
// role may end its own processes.
//
// Errors are ignored: then the slot is held, which is waited for anyway.
func (r *Relay) endPrevious(ctx context.Context, db *postgres.DB) {
	if r.previous.PID == 0 {
		return
	}
	var ended bool
	// Waits for up to a second until the process is gone.
	err := db.QueryRow(ctx, `select pg_catalog.pg_terminate_backend(pid, 1000) from pg_catalog.pg_stat_activity where pid = $1 and backend_start::text = $2`,
		int32(r.previous.PID), r.previous.BackendStart).Scan(&ended)
	if err == nil && ended {
		r.log.Info("ended the walsender of the session that broke off", "pid", r.previous.PID)
	}
	r.previous = postgres.WalsenderID{}
}
