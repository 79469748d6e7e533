package pgerror

import (
	"errors"
	"io"
	"net"
	"path"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/reason"
	"walpost/schema"
)

// Stage is what the relay was doing when the server returned an error. The same SQLSTATE means different things at different stages.
type Stage uint8

// The stages of a relay's life with a server.
const (
	Connecting  Stage = iota // opening a connection
	Preparing                // checks and backfill, in SQL
	Recording                // reading and writing walpost.relay_state, in SQL
	Parking                  // reading and writing walpost.dead_letters, in SQL
	Identifying              // IDENTIFY_SYSTEM and settings, on a replication connection
	Creating                 // CREATE_REPLICATION_SLOT
	Starting                 // START_REPLICATION, until the server starts to stream
	Streaming                // reading the stream
)

// Names are the names of objects for the texts of errors.
type Names struct {
	Slot, Publication string
	Table             schema.Table
	Role              string // the relay's role
	database          string // the database of a refused connection
	walsender         bool   // the refused connection was one for replication
	noPassword        bool   // it had no password to give
}

// Classify classifies err, an error of the server or of the network. It returns a *[Fault] if only a person can cure it, and a *[Wait] if
// it may end by itself but a person can cure it sooner. Any other error, above all an unknown one, it returns as it is: the caller retries.
// Classify matches SQLSTATEs and never texts, which differ by version and language. first says that this process has not connected before.
func Classify(err error, at Stage, first bool, n Names) error {
	if err == nil || classified(err) {
		return err
	}
	if at == Connecting {
		return classifyConnect(err, first, n)
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err // the connection is broken
	}
	sql := at == Preparing || at == Recording || at == Parking
	switch e.Code {
	case "42501": // insufficient_privilege
		if at == Recording {
			return Permanent(reason.PrivilegeMissing, err, "run: GRANT SELECT, INSERT, UPDATE, DELETE ON walpost.relay_state TO %s; %s --relay-role %[1]s prints all grants of the role",
				schema.QuoteIdent(n.Role), schema.Command("print", n.Table))
		}
		if at == Parking {
			return Permanent(reason.PrivilegeMissing, err, "run: GRANT SELECT, INSERT, UPDATE, DELETE ON walpost.dead_letters, walpost.relay_state TO %s; %s --relay-role %[1]s prints all grants of the role",
				schema.QuoteIdent(n.Role), schema.Command("print", n.Table))
		}
		if at == Preparing {
			return Permanent(reason.PrivilegeMissing, err, "grant the missing right: %s --relay-role %s prints all grants of the role", schema.Command("print", n.Table), schema.QuoteIdent(n.Role))
		}
		return Permanent(reason.PrivilegeMissing, err, "%s", mayStream(n))
	case "42P01", "3F000", "42883": // undefined_table, invalid_schema_name, undefined_function: a part of schema walpost is missing
		if sql {
			return Permanent(reason.SchemaOutdated, err, "run: %s", schema.Command("apply", n.Table))
		}
	case "42703": // undefined_column: of a table in schema walpost, or of the outbox when a backfill begins
		if sql {
			return Permanent(reason.SchemaOutdated, err, "run: %s, which prints what is missing and the SQL that adds it", schema.Command("check", n.Table))
		}
	case "23502", "23503", "23505", "23514", "23P01": // violations of constraints
		if at == Parking {
			return Permanent(reason.SchemaOutdated, err, "a constraint of walpost.dead_letters refuses the event: %s prints what differs from walpost's schema", schema.Command("check", n.Table))
		}
	case "22P05", "22021": // untranslatable_character, character_not_in_repertoire: the database's encoding is not UTF8
		if at == Parking {
			return Permanent(reason.Unexpected, err, "the encoding of the database has no form for a text that belongs to the event, such as a broker's message: use a database in UTF8, or set outbox.on_bad_event: halt")
		}
	case "55P03": // lock_not_available: such as a migration in a transaction that somebody has left open
		if at == Parking {
			return &Wait{Err: err, Code: reason.PostgresError, Cure: whoLocks("walpost.dead_letters or walpost.relay_state", "'walpost.dead_letters'::regclass, 'walpost.relay_state'::regclass")}
		}
		if at == Preparing { // only commands for people limit the wait; a relay that starts waits for the lock
			return &Wait{Err: err, Code: reason.PostgresError, Cure: whoLocks("a table of schema walpost or "+n.Table.String(),
				"SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace('walpost') UNION SELECT to_regclass("+schema.QuoteLiteral(n.Table.String())+")")}
		}
	case "42704": // undefined_object
		if at == Starting { // the slot: it existed a moment ago
			return Permanent(reason.SlotMissing, err, "somebody dropped it while walpost was starting: events committed since its last confirmation are in no slot")
		}
		if at == Streaming { // up to 17: the publication, which the server looks up as it was at that point of the WAL
			return PublicationGap(err, n)
		}
	case "55000": // object_not_in_prerequisite_state
		if at == Creating { // wal_level: it was checked before, so it was changed meanwhile, or the server is a standby
			return Permanent(reason.WALLevel, err, "set wal_level = logical in postgresql.conf and restart the server")
		}
		if at == Starting { // the slot is invalidated: WAL or catalog rows that it needed were removed
			return LostSlot(err, n)
		}
	case "58P01": // undefined_file
		if at == Creating || at == Starting || at == Streaming {
			return classifyAbsentFile(err, e, n)
		}
	case "42601": // syntax_error: this is not a replication connection, although walpost asked for one
		if at == Identifying {
			return Permanent(reason.PoolerBetween, err, "a pooler drops the startup parameter replication: set postgres.url to the server itself, or to a pooler that forwards replication connections")
		}
	case "53400": // configuration_limit_exceeded: max_replication_slots
		if at == Creating {
			return Permanent(reason.NoFreeSlot, err, "raise max_replication_slots and restart the server, or drop an unused slot (pg_replication_slots, active = false)")
		}
	case "42602", "42939": // invalid_name, reserved_name
		if at == Creating {
			return Permanent(reason.SlotName, err, "choose another name for the slot: lower-case letters, digits and underscores")
		}
	case "0A000", "22023": // feature_not_supported, invalid_parameter_value: an option of pgoutput is unknown, or the server only resembles Postgres
		if at == Creating || at == Starting {
			return Permanent(reason.PostgresUnsuitable, err, "walpost needs Postgres 14 or later, without a pooler that changes the protocol")
		}
	}
	return err // such as 55006 slot in use, 53300 too many connections, 57P01 and 57P03 server stopping or starting
}

// whoLocks returns the cure for a lock of one of these tables that is held for too long. oids is the list or the query in the SQL operator
// IN. pg_blocking_pids can no longer tell who has the lock, because nobody waits any more.
func whoLocks(tables, oids string) string {
	return "another session has a lock of " + tables + "; to find it, run: " +
		"SELECT pid, usename, application_name, state, xact_start, query FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database() AND granted " +
		"AND relation IN (" + oids + ") ORDER BY xact_start; " +
		"wait until its transaction ends, or end it with pg_terminate_backend(pid); if no session has the lock, look into pg_prepared_xacts"
}

// classifyAbsentFile classifies the error that the server does not find a file. The slot is lost only if the file is a WAL segment. That
// must be right, because the cure of a lost slot is to drop it, and dropping an intact slot loses events. The name of the source file
// decides, because texts are translated.
func classifyAbsentFile(err error, e *pgconn.PgError, n Names) error {
	switch path.Base(e.File) {
	case "walsender.c", "xlogreader.c", "xlogutils.c": // they open WAL segments
		return LostSlot(err, n)
	case "dfmgr.c":
		return Permanent(reason.PostgresUnsuitable, err, "the server does not find the library of the plugin pgoutput, which is part of Postgres: repair the server's installation; slot %s is intact, do not drop it", n.Slot)
	}
	return err // such as the file of a spilled transaction: a new session writes it again, and the checks before it detect a lost slot
}

// mayStream returns the cure for a role that may not stream the WAL.
func mayStream(n Names) string {
	role := schema.QuoteIdent(n.Role)
	return "run: ALTER ROLE " + role + " REPLICATION (on RDS and Aurora: GRANT rds_replication TO " + role + ")"
}

// LostSlot returns the fault of a slot that Postgres has invalidated.
func LostSlot(err error, n Names) error {
	return Permanent(reason.SlotLost, err, "slot %s is lost: Postgres removed WAL that it needed, so events are missing from the stream. "+
		"walpost can publish the rows that are still in %s from there: run: SELECT pg_drop_replication_slot(%s); DELETE FROM walpost.relay_state WHERE slot = %[3]s; and start walpost. "+
		"It then publishes all rows of the table, also those that it has published before. "+
		"To prevent this, raise max_slot_wal_keep_size (or the setting that the error names, such as idle_replication_slot_timeout)", n.Slot, n.Table, schema.QuoteLiteral(n.Slot))
}

// PublicationGap returns the fault of a publication that did not exist at this point of the WAL, although it may exist now.
func PublicationGap(err error, n Names) error {
	return Permanent(reason.PublicationGap, err, "publication %s did not exist when this part of the WAL was written, and creating it now does not help. "+
		"Create it, advance the slot past the gap (SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())), and insert the rows of %s again that were committed since it was dropped: "+
		"they are only in the table. Never drop a publication that a slot uses",
		schema.QuoteIdent(n.Publication), schema.QuoteLiteral(n.Slot), n.Table)
}

// IsSQLState reports whether err is an error of the server with one of the codes.
func IsSQLState(err error, codes ...string) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// IsServerError reports whether err comes from the server itself.
func IsServerError(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e)
}

// Reason returns the reason code of an error that ended an attempt: the error's own code if it has one, else a code for the server's
// SQLSTATE or for the end of the connection. For an unknown error it returns [reason.Unexpected].
func Reason(err error) reason.Code {
	switch code := reason.Of(err); {
	case code != "":
		return code
	case SlotBusy(err):
		return reason.SlotHeld
	case IsSQLState(err, "57P01", "57P02", "57P03"): // admin_shutdown, crash_shutdown, cannot_connect_now
		return reason.PostgresNotReady
	case IsSQLState(err, "53300"):
		return reason.TooManyConnections
	case IsServerError(err):
		return reason.PostgresError
	case connectionEnded(err):
		return reason.StreamLost
	}
	return reason.Unexpected
}

// connectionEnded reports whether err is of a connection to the server that ended while it was used.
func connectionEnded(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, pgconn.ErrConnClosed)
}

// SlotBusy reports whether err says that another process holds the slot.
func SlotBusy(err error) bool { return IsSQLState(err, "55006") }

// ServerGone reports whether err, of an attempt to connect, shows that the server is stopping or has stopped.
func ServerGone(err error) bool {
	return IsSQLState(err, "57P03") || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}
