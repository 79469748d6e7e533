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
	if endWalsender(ctx, db, r.previous) {
		r.log.Info("ended the walsender of the session that broke off", "pid", r.previous.PID)
	}
	r.previous = postgres.WalsenderID{}
}

// endWalsender ends a walsender, if it is still there, and reports whether it was and is gone. It waits for up to a second.
func endWalsender(ctx context.Context, db *postgres.DB, id postgres.WalsenderID) (ended bool) {
	err := db.QueryRow(ctx, `select pg_catalog.pg_terminate_backend(pid, 1000) from pg_catalog.pg_stat_activity where pid = $1 and backend_start::text = $2`,
		int32(id.PID), id.BackendStart).Scan(&ended)
	return err == nil && ended
}
