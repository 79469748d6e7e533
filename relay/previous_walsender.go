package relay

import (
	"context"

	"walpost/relay/postgres"
)

// former is the walsender of the last session: its process and when that began, which together no other process has.
type former struct {
	pid   uint32
	begun string
}

// endFormer ends the walsender of a session that broke off without the server's notice. It holds the slot until wal_sender_timeout has
// passed, and no time-out may be set; a new session would stand by behind its own ghost for as long. A role may end its own processes.
//
// An error is of no interest: the slot will be held, and that is waited for anyway.
func (r *Relay) endFormer(ctx context.Context, db *postgres.DB) {
	if r.former.pid == 0 {
		return
	}
	var ended bool
	// Waits for up to a second until the process is gone.
	err := db.QueryRow(ctx, `select pg_catalog.pg_terminate_backend(pid, 1000) from pg_catalog.pg_stat_activity where pid = $1 and backend_start::text = $2`,
		int32(r.former.pid), r.former.begun).Scan(&ended)
	if err == nil && ended {
		r.log.Info("ended the walsender of the session that broke off", "pid", r.former.pid)
	}
	r.former = former{}
}
