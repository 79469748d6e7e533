package relay

import (
	"context"

	"walpost/relay/postgres"
)

// endPrevious ends the walsender of the previous session, if that session broke off and the server has not noticed. Such a walsender holds
// the slot until wal_sender_timeout has passed, or for ever if there is no such time-out. Meanwhile the relay would stand by behind its own
// walsender. A role may terminate its own backends.
//
// It ignores errors: if the slot is still held, the relay waits for it anyway.
func (r *Relay) endPrevious(ctx context.Context, db *postgres.DB) {
	if r.previous.PID == 0 {
		return
	}
	if endWalsender(ctx, db, r.previous) {
		r.log.Info("ended the walsender of the previous session, which broke off", "pid", r.previous.PID)
	}
	r.previous = postgres.WalsenderID{}
}

// endWalsender terminates a walsender, and reports whether it was still running and has ended. It waits up to a second.
func endWalsender(ctx context.Context, db *postgres.DB, id postgres.WalsenderID) (ended bool) {
	err := db.QueryRow(ctx, `select pg_catalog.pg_terminate_backend(pid, 1000) from pg_catalog.pg_stat_activity where pid = $1 and backend_start::text = $2`,
		int32(id.PID), id.BackendStart).Scan(&ended)
	return err == nil && ended
}
