package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"walpost/relay/pgerror"
)

// WalsenderID identifies a walsender by its server, its pid and its start time. No two processes of a server have the same pid and start
// time.
type WalsenderID struct {
	SystemID     string // of the server
	PID          uint32
	BackendStart string
}

// Activity is what pg_stat_activity shows of a walsender at one moment.
type Activity struct {
	Present   bool   // the process exists
	Visible   bool   // the role may see what the process does
	EventType string // wait_event_type; "": it does not wait
	Event     string // wait_event
}

// ErrOtherServer means that a connection has reached another server than the walsender's, because a load balancer has the address.
var ErrOtherServer = errors.New("the connection reached another server than the walsender's")

// ReadActivity reads what a walsender does. It returns [ErrOtherServer] if the connection leads to another server.
func ReadActivity(ctx context.Context, db *DB, id WalsenderID) (a Activity, err error) {
	// Without membership in the process's role, pg_stat_activity shows only its pid, database and role.
	err = db.QueryRow(ctx, `
		select true, state is not null, coalesce(wait_event_type, ''), coalesce(wait_event, '')
		from pg_catalog.pg_stat_activity where pid = $1 and (backend_start::text = $2 or backend_start is null)`, int32(id.PID), id.BackendStart).
		Scan(&a.Present, &a.Visible, &a.EventType, &a.Event)
	if errors.Is(err, pgx.ErrNoRows) {
		err = checkServer(ctx, db, id.SystemID)
	}
	if err != nil {
		return a, fmt.Errorf("check the walsender with pid %d: %w", id.PID, err)
	}
	return a, nil
}

// checkServer returns [ErrOtherServer] if the connection leads to a standby, or to a server with another system identifier. A walsender
// that is not found there may still run on its own server.
func checkServer(ctx context.Context, db *DB, systemID string) error {
	standby, err := db.isStandby(ctx)
	if err != nil {
		return err
	}
	if standby {
		return fmt.Errorf("%w: a standby", ErrOtherServer)
	}
	var reached string
	err = db.QueryRow(ctx, "select system_identifier::text from pg_catalog.pg_control_system()").Scan(&reached)
	if pgerror.IsSQLState(err, "42501") {
		return nil // EXECUTE was revoked from PUBLIC: then only a standby is recognised, which is the usual other server behind a balancer
	}
	if err == nil && reached != systemID {
		return fmt.Errorf("%w: its system identifier is %s instead of %s", ErrOtherServer, reached, systemID)
	}
	return err
}

// Works reports whether the walsender works, and so has a reason to send nothing: it runs, or waits for the disk, a lock or another
// process. A walsender that waits for its client, or for new WAL, would have answered.
func (a Activity) Works() bool {
	return a.Present && a.Visible && a.EventType != "Client" && a.EventType != "Activity"
}

// String describes what the walsender does, as a clause.
func (a Activity) String() string {
	switch {
	case !a.Present:
		return "it has ended"
	case !a.Visible:
		return "the role may not see what it does"
	case a.EventType == "":
		return "it works"
	case a.Works():
		return fmt.Sprintf("it works (%s: %s)", a.EventType, a.Event)
	}
	return fmt.Sprintf("it waits for walpost (%s: %s)", a.EventType, a.Event)
}
