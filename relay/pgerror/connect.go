package pgerror

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/reason"
	"walpost/schema"
)

// connectError says why there is no connection, on one line.
type connectError struct {
	text           string
	role, database string
	walsender      bool    // it was to be one
	reasons        []error // what counts, of the single errors of all attempts
	err            error
}

// ConnectError returns err, an error of pgconn's on connecting with cfg, with a text on one line that says where to and as whom. No password
// is in it.
func ConnectError(err error, cfg *pgconn.Config) error {
	e := &connectError{role: cfg.User, database: cmp.Or(cfg.Database, cfg.User), walsender: cfg.RuntimeParams["replication"] != "", reasons: reasons(err, cfg), err: err}
	e.text = fmt.Sprintf("connect to %s port %d as %s, database %s: %s", cfg.Host, cfg.Port, e.role, e.database, OneLine(e.reasons))
	return e
}

func (e *connectError) Error() string { return e.text }
func (e *connectError) Unwrap() error { return e.err }

// OfWalsender reports whether err, of a connection that was not made, is one of a replication connection.
func OfWalsender(err error) bool {
	var e *connectError
	return errors.As(err, &e) && e.walsender
}

// reasons returns the errors of a connection's attempts, in their order, without those that decide nothing: errors of TLS, where the same was
// tried without TLS, and of an address that nobody listens at (as ::1 of localhost), where another address of the only host answered. So
// sslmode does not change how connection errors are classified.
func reasons(err error, cfg *pgconn.Config) []error {
	all := Causes(err)
	if triesPlain(cfg) {
		all = without(all, failedTLS)
	}
	if !SeveralHosts(cfg) && slices.ContainsFunc(all, IsServerError) {
		all = without(all, undialed)
	}
	return all
}

// without returns all but the idle errors, or all if there are no others.
func without(all []error, idle func(error) bool) []error {
	if left := slices.DeleteFunc(slices.Clone(all), idle); len(left) > 0 {
		return left
	}
	return all
}

// Causes returns the single errors that err was joined from.
func Causes(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if many, ok := e.(interface{ Unwrap() []error }); ok {
			var all []error
			for _, one := range many.Unwrap() {
				all = append(all, Causes(one)...)
			}
			return all
		}
	}
	return []error{err}
}

// OneLine puts errors on one line, each text once in a row.
func OneLine(errs []error) string {
	var seen []string
	for _, err := range errs {
		text := strings.Join(strings.Fields(err.Error()), " ")
		if len(seen) == 0 || seen[len(seen)-1] != text {
			seen = append(seen, text)
		}
	}
	return strings.Join(seen, "; ")
}

// refusedTLS reports whether a server without TLS was asked for it. The library has no type for that.
func refusedTLS(err error) bool { return says(err, "server refused TLS") }

// failedTLS reports whether the two sides did not agree on TLS, for whatever reason.
func failedTLS(err error) bool { return refusedTLS(err) || says(err, "tls error: ") }

// says reports whether err has the library's words for what it has no type for. What a server says does not count.
func says(err error, text string) bool {
	return !IsServerError(err) && strings.Contains(err.Error(), text)
}

// undialed reports whether nobody took the connection.
func undialed(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// triesPlain reports whether a connection is tried without TLS too: sslmode prefer, which is libpq's default, or allow.
func triesPlain(cfg *pgconn.Config) bool {
	if cfg.TLSConfig == nil {
		return true
	}
	for _, f := range cfg.Fallbacks {
		if f.TLSConfig == nil {
			return true
		}
	}
	return false
}

// classifyConnect classifies why there is no connection. A connection string may name several hosts, each with an error of its own: if time
// can cure one of them, it is waited for.
func classifyConnect(err error, first bool, n Names) error {
	all := Causes(err)
	if d := (*connectError)(nil); errors.As(err, &d) {
		all = d.reasons
		n.Role, n.database, n.walsender = d.role, d.database, d.walsender // who was refused may never have been in
	}
	hopeless := true
	var code reason.Code
	var cures []string
	for _, leaf := range all {
		c := classifyCause(leaf, first, n)
		if code == "" || hopeless && !c.hopeless { // what is waited for decides
			code = c.code
		}
		hopeless = hopeless && c.hopeless
		if c.cure != "" && !slices.Contains(cures, c.cure) {
			cures = append(cures, c.cure)
		}
	}
	cure := strings.Join(cures, "; or ")
	switch {
	case hopeless:
		return Permanent(code, err, "%s", cure)
	case cure != "":
		return &Wait{err, code, cure}
	}
	return reason.With(code, err)
}

// cause is what one error means.
type cause struct {
	code     reason.Code
	cure     string // what a person can do about it
	hopeless bool   // nothing else helps
}

// classifyCause classifies one error. first says that this process has not been connected yet: later, what was well once may be changing at
// this moment, and is waited for.
func classifyCause(err error, first bool, n Names) cause {
	var e *pgconn.PgError
	var parse *pgconn.ParseConfigError
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var header tls.RecordHeaderError
	var name *net.DNSError
	switch {
	case errors.As(err, &e):
		return classifyRefusal(e, first, n)
	case errors.As(err, &parse):
		// A service file or a password file may be replaced at this very moment, and a process that has run goes on trying.
		return cause{reason.ConnectionString, "correct the connection string", first}
	case errors.As(err, &cert), errors.As(err, &unknown), errors.As(err, &header), refusedTLS(err):
		// The two sides do not agree on TLS. While a certificate is being replaced that passes.
		return cause{reason.PostgresTLS, "make sslmode, sslrootcert and the host name fit the server's certificate", first}
	case says(err, "channel binding"), says(err, "require_auth check failed"), says(err, "sslcertmode check failed"), says(err, "protocol version too low"):
		// The client's own demands.
		return cause{reason.ConnectionParameter, "let the server do what channel_binding, require_auth, sslcertmode or min_protocol_version asks of it (channel_binding=require: TLS, and the password as SCRAM), or take that out of the connection string", first}
	case errors.Is(err, pgconn.ErrStandbyConnection), errors.Is(err, pgconn.ErrReadOnlyConnection):
		return cause{reason.PostgresIsStandby, Promote, false}
	case errors.Is(err, pgconn.ErrPrimaryConnection), errors.Is(err, pgconn.ErrReadWriteConnection):
		return cause{reason.ConnectionParameter, "take target_session_attrs out of the connection string: walpost works on the primary", first}
	case errors.As(err, &name):
		return cause{reason.PostgresUnreachable, "correct the host's name in the connection string, or have the name resolved", false}
	case undialed(err), pgconn.Timeout(err):
		return cause{reason.PostgresUnreachable, "start the server, open the way to it, or correct host and port in the connection string", false}
	}
	return cause{reason.PostgresUnreachable, "", false}
}

// Promote is the cure of a standby.
const Promote = "promote it (SELECT pg_promote()), or name the primary; of several hosts, target_session_attrs=read-write in postgres.url finds it"

// SessionsNeeded is the largest number of sessions that a relay has at the same time. It has them in a first start: its own,
// which has the lock, the backfill's, the watcher's, and one walsender.
const SessionsNeeded = 4

// classifyRefusal classifies the error of a server that was reached and refused the connection.
func classifyRefusal(e *pgconn.PgError, first bool, n Names) cause {
	role, database := schema.QuoteIdent(n.Role), schema.QuoteIdent(n.database)
	switch e.Code {
	case "28P01", "28000": // wrong password; unknown role, or nothing in pg_hba.conf. Later a password is being rotated: it is waited for.
		return cause{reason.PostgresLogin, "check user and password, and that pg_hba.conf lets the role " + role + " in to this database (the line's database is its name, not the word replication)", first}
	case "3D000": // no such database
		return cause{reason.DatabaseMissing, "create the database or correct its name", true}
	case "42501": // insufficient_privilege
		switch {
		case strings.HasPrefix(e.Routine, "set_config"): // texts are translated, names of functions are not
			return cause{reason.ConnectionParameter, "take the parameter out of the connection string, or let the role " + role + " set it", first}
		case n.walsender:
			return cause{reason.PrivilegeMissing, mayStream(n), first}
		}
		return cause{reason.PrivilegeMissing, "run: GRANT CONNECT ON DATABASE " + database + " TO " + role, first}
	case "22023", "42704": // a parameter that the server does not know, or may not be set by this role
		return cause{reason.ConnectionParameter, "take the parameter out of the connection string; a pooler must pass replication connections through", first}
	case "08P01": // protocol_violation: what PgBouncer says of anything, a server that is away and a full pool included
		return cause{reason.PoolerBetween, "a pooler in between says so: let postgres.url name the server itself; or see to the pooler, which must know the startup parameters of its message and pass replication connections through", false}
	case "57P03": // starting, stopping, or in recovery and not to be asked
		return cause{reason.PostgresNotReady, "the server's log says how far it is; a standby that lets nobody in never will: name the primary", false}
	case "53300": // of the server, the role or the database; for the stream also max_wal_senders
		return cause{reason.TooManyConnections, fmt.Sprintf("walpost needs up to %d connections, one of them a walsender: end sessions that nobody needs, or raise the limit that the server names "+
			"(max_connections, max_wal_senders, ALTER ROLE %s CONNECTION LIMIT, ALTER DATABASE %s CONNECTION LIMIT)", SessionsNeeded, role, database), false}
	case "55000": // closed for maintenance
		return cause{reason.DatabaseClosed, "run: ALTER DATABASE " + database + " ALLOW_CONNECTIONS true", false}
	}
	return cause{Reason(e), "", false}
}

// SeveralHosts reports whether a connection string names more than one server. One that is tried with TLS and without counts once.
func SeveralHosts(cfg *pgconn.Config) bool {
	for _, f := range cfg.Fallbacks {
		if f.Host != cfg.Host || f.Port != cfg.Port {
			return true
		}
	}
	return false
}
