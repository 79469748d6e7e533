package pgerror

import (
	"errors"
	"io"
	"path"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/reason"
	"walpost/schema"
)

// Stage is what was asked of the server when it answered with an error. The same SQLSTATE means different things at different stages.
type Stage uint8

// The stages of a relay's life with a server.
const (
	Connecting  Stage = iota // opening a connection
	Preparing                // checks and backfill, in SQL
	Recording                // reading and writing walpost.relay_state, in SQL
	Identifying              // IDENTIFY_SYSTEM and settings, on a replication connection
	Creating                 // CREATE_REPLICATION_SLOT
	Starting                 // START_REPLICATION, until the server agrees
	Streaming                // the stream itself
)

// Names are the objects that the texts of errors name.
type Names struct {
	Slot, Publication string
	Table             schema.Table
	Role              string // as which the relay logs in
	database          string // of a connection that was refused
	walsender         bool   // a connection that was refused was to be one
}

// Classify reports whether time can cure err, an error of the server or of the way to it. It returns a *[Fault] for what only a person can
// cure, a *[Wait] for what a person can cure sooner than time, and err itself for anything else, above all for what is unknown: that is to
// be retried. It matches SQLSTATEs and never texts, which differ by version and language. first says that this process has not connected
// before.
func Classify(err error, at Stage, first bool, n Names) error {
	if err == nil || classified(err) {
		return err
	}
	if at == Connecting {
		return classifyConnect(err, first, n)
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err // the connection broke
	}
	sql := at == Preparing || at == Recording
	switch e.Code {
	case "42501": // insufficient_privilege
		if at == Recording {
			return Permanent(reason.PrivilegeMissing, err, "run: GRANT SELECT, INSERT, UPDATE, DELETE ON walpost.relay_state TO %s; every grant of the role: %s --relay-role %[1]s",
				schema.QuoteIdent(n.Role), schema.Command("print", n.Table))
		}
		if at == Preparing {
			return Permanent(reason.PrivilegeMissing, err, "grant it: %s --relay-role %s prints the grants", schema.Command("print", n.Table), schema.QuoteIdent(n.Role))
		}
		return Permanent(reason.PrivilegeMissing, err, "%s", mayStream(n))
	case "42P01", "3F000", "42883": // undefined_table, invalid_schema_name, undefined_function: something of schema walpost is not there
		if sql {
			return Permanent(reason.SchemaOutdated, err, "run: %s", schema.Command("apply", n.Table))
		}
	case "42703": // undefined_column: of a table of schema walpost, or of the outbox while a backfill begins
		if sql {
			return Permanent(reason.SchemaOutdated, err, "run: %s, which prints what is missing and the SQL that adds it", schema.Command("check", n.Table))
		}
	case "42704": // undefined_object
		if at == Starting { // the slot: it was there a moment ago
			return Permanent(reason.SlotMissing, err, "somebody dropped it while walpost was starting: what was committed since its last confirmation is not in any slot")
		}
		if at == Streaming { // up to 17: the publication, looked up in the catalog as it was at that point of the WAL
			return PublicationGap(err, n)
		}
	case "55000": // object_not_in_prerequisite_state
		if at == Creating { // wal_level; checked before, so it was changed meanwhile or the server is a standby
			return Permanent(reason.WALLevel, err, "set wal_level = logical in postgresql.conf and restart the server")
		}
		if at == Starting { // invalidated: WAL that it needed is gone, or rows of the catalog are
			return LostSlot(err, n)
		}
	case "58P01": // undefined_file
		if at == Creating || at == Starting || at == Streaming {
			return classifyAbsentFile(err, e, n)
		}
	case "42601": // syntax_error: the connection is no replication connection, whatever was asked for
		if at == Identifying {
			return Permanent(reason.PoolerBetween, err, "a pooler in between drops the startup parameter replication: let postgres.url name the server itself, or a pooler that passes replication connections through")
		}
	case "53400": // configuration_limit_exceeded: max_replication_slots
		if at == Creating {
			return Permanent(reason.NoFreeSlot, err, "raise max_replication_slots and restart the server, or drop a slot that nobody uses (pg_replication_slots, active = false)")
		}
	case "42602", "42939": // invalid_name, reserved_name
		if at == Creating {
			return Permanent(reason.SlotName, err, "choose another name for the slot: lower-case letters, digits and underscores")
		}
	case "0A000", "22023": // feature_not_supported, invalid_parameter_value: an option of pgoutput, or a server that only looks like Postgres
		if at == Creating || at == Starting {
			return Permanent(reason.PostgresUnsuitable, err, "walpost needs Postgres 14 or later itself, without a pooler in between that changes the protocol")
		}
	}
	return err // 55006 slot held, 53300 too many connections, 57P01 and 57P03 stopping or starting, and whatever is not listed
}

// classifyAbsentFile classifies a file that the server misses. Only WAL that was removed loses a slot, and dropping a slot that is not lost
// loses events. The source file decides: texts are translated.
func classifyAbsentFile(err error, e *pgconn.PgError, n Names) error {
	switch path.Base(e.File) {
	case "walsender.c", "xlogreader.c", "xlogutils.c": // which open segments of WAL
		return LostSlot(err, n)
	case "dfmgr.c":
		return Permanent(reason.PostgresUnsuitable, err, "the server lacks the library of its plugin pgoutput, which comes with Postgres: repair the server's installation; slot %s is unharmed, keep it", n.Slot)
	}
	return err // such as a spilled transaction: a new session makes it again, and the checks before that see whether the slot is lost
}

// mayStream returns the cure of a role that may not stream the WAL.
func mayStream(n Names) string {
	role := schema.QuoteIdent(n.Role)
	return "run: ALTER ROLE " + role + " REPLICATION (on RDS and Aurora: GRANT rds_replication TO " + role + ")"
}

// LostSlot returns the fault of a slot that Postgres gave up.
func LostSlot(err error, n Names) error {
	return Permanent(reason.SlotLost, err, "slot %s is lost: Postgres removed WAL that it needed, so events are missing from the stream. "+
		"Those that are still in %s are published from there when walpost begins anew: SELECT pg_drop_replication_slot(%s); DELETE FROM walpost.relay_state WHERE slot = %[3]s; start walpost, "+
		"which publishes all rows that are in the table, those again that had been published. "+
		"Raise max_slot_wal_keep_size (or what the reason names, such as idle_replication_slot_timeout)", n.Slot, n.Table, schema.QuoteLiteral(n.Slot))
}

// PublicationGap returns the fault of a publication that is missing at this point of the WAL, although it may exist now.
func PublicationGap(err error, n Names) error {
	return Permanent(reason.PublicationGap, err, "publication %s did not exist when this part of the WAL was written, and creating it now does not help. "+
		"Once it is there, advance the slot over the gap (SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())) and insert the rows of %s again that were committed since it was dropped: "+
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

// Reason returns the code of an error that ended an attempt: its own where it was classified, else what the server's answer means. Only what
// is unknown is [reason.Unexpected].
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
	}
	return reason.Unexpected
}

// SlotBusy reports whether err says that another process holds the slot.
func SlotBusy(err error) bool { return IsSQLState(err, "55006") }

// ServerGone reports whether err, of an attempt to connect, shows that the server is stopping or has stopped.
func ServerGone(err error) bool {
	return IsSQLState(err, "57P03") || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}
