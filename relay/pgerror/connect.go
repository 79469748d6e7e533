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

// connectError says on one line why a connection failed.
type connectError struct {
	text           string
	role, database string
	walsender      bool    // it was a connection for replication
	noPassword     bool    // nobody set a password
	reasons        []error // the errors of the single attempts that decide how it is classified
	err            error
}

// ConnectError wraps err, an error of pgconn on connecting with cfg. Its text is one line that names server, role and database. It does not
// contain a password.
func ConnectError(err error, cfg *pgconn.Config) error {
	e := &connectError{role: cfg.User, database: cmp.Or(cfg.Database, cfg.User), walsender: cfg.RuntimeParams["replication"] != "", noPassword: cfg.Password == "", reasons: reasons(err, cfg), err: err}
	e.text = fmt.Sprintf("connect to %s port %d as %s, database %s: %s", cfg.Host, cfg.Port, e.role, e.database, OneLine(e.reasons))
	return e
}

func (e *connectError) Error() string { return e.text }
func (e *connectError) Unwrap() error { return e.err }

// OfWalsender reports whether err says that a replication connection failed.
func OfWalsender(err error) bool {
	var e *connectError
	return errors.As(err, &e) && e.walsender
}

// reasons returns the errors of the single attempts to connect, in order, without those that decide nothing. An error of TLS decides
// nothing if the same address was also tried without TLS. An error of an address where nobody listens (such as ::1 of localhost) decides
// nothing if another address of the only host answered. So sslmode does not change how connection errors are classified.
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

// without returns all errors but the idle ones, or all errors if all are idle.
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

// OneLine joins errors on one line, and leaves out repetitions of the previous text.
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

// refusedTLS reports whether the server has no TLS, although the client requires it. pgconn has no type for that error.
func refusedTLS(err error) bool { return says(err, "server refused TLS") }

// failedTLS reports whether TLS failed, for any reason.
func failedTLS(err error) bool { return refusedTLS(err) || says(err, "tls error: ") }

// says reports whether err, an error of pgconn that has no type, contains text. It returns false for errors of the server.
func says(err error, text string) bool {
	return !IsServerError(err) && strings.Contains(err.Error(), text)
}

// undialed reports whether the network connection could not be opened.
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

// classifyConnect classifies why a connection failed. A connection string may name several hosts, each with an error of its own. If time
// can cure one of these errors, the relay waits.
func classifyConnect(err error, first bool, n Names) error {
	all := Causes(err)
	if d := (*connectError)(nil); errors.As(err, &d) {
		all = d.reasons
		n.Role, n.database, n.walsender, n.noPassword = d.role, d.database, d.walsender, d.noPassword // the names of the refused connection, because the role may never have connected before
	}
	hopeless := true
	var code reason.Code
	var cures []string
	for _, leaf := range all {
		c := classifyCause(leaf, first, n)
		if code == "" || hopeless && !c.hopeless { // an error that time can cure decides
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

// classifyCause classifies one error. first says that this process has not connected before. Later, a setting that was right before may be
// changing at this moment, so the relay waits for some errors that are permanent at first.
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
		// A service file or a password file may be being replaced at this moment, so a process that has connected before retries.
		return cause{reason.ConnectionString, "correct the connection string", first}
	case refusedTLS(err):
		return cause{reason.PostgresTLS, "switch TLS on in the server (ssl = on), or write sslmode=disable if nobody else can read the network", first}
	case errors.As(err, &cert), errors.As(err, &unknown), errors.As(err, &header):
		// The two sides do not agree on TLS. That may pass, if a certificate is being replaced.
		return cause{reason.PostgresTLS, "make sslmode, sslrootcert and the host name fit the server's certificate", first}
	case says(err, "channel binding"), says(err, "require_auth check failed"), says(err, "sslcertmode check failed"), says(err, "protocol version too low"):
		// The connection string's own requirements.
		return cause{reason.ConnectionParameter, "configure the server for what channel_binding, require_auth, sslcertmode or min_protocol_version requires (channel_binding=require needs TLS and a SCRAM password), or remove the parameter from the connection string", first}
	case errors.Is(err, pgconn.ErrStandbyConnection), errors.Is(err, pgconn.ErrReadOnlyConnection):
		return cause{reason.PostgresIsStandby, Promote, false}
	case errors.Is(err, pgconn.ErrPrimaryConnection), errors.Is(err, pgconn.ErrReadWriteConnection):
		return cause{reason.ConnectionParameter, "remove target_session_attrs from the connection string: walpost works on the primary", first}
	case errors.As(err, &name):
		return cause{reason.PostgresUnreachable, "correct the host name in the connection string, or the DNS entry of the host", false}
	case undialed(err), pgconn.Timeout(err):
		return cause{reason.PostgresUnreachable, "start the server, open the network path to it, or correct host and port in the connection string", false}
	}
	return cause{reason.PostgresUnreachable, "", false}
}

// Promote is the cure for a standby.
const Promote = "promote it (SELECT pg_promote()), or connect to the primary; if postgres.url names several hosts, target_session_attrs=read-write finds the primary"

// SessionsNeeded is the largest number of sessions that a relay has at the same time. It has so many in a first start: the connection that
// has the lock, the backfill's, the watcher's, and one walsender.
const SessionsNeeded = 4

// classifyRefusal classifies the error of a server that refused the connection.
func classifyRefusal(e *pgconn.PgError, first bool, n Names) cause {
	role, database := schema.QuoteIdent(n.Role), schema.QuoteIdent(n.database)
	switch e.Code {
	case "28P01", "28000": // wrong password; unknown role, or no line in pg_hba.conf. Not permanent later, because a password may be being rotated.
		if e.Code == "28P01" && n.noPassword {
			return cause{reason.PostgresLogin, "no password is set: add it to postgres.url, to PGPASSWORD or to libpq's password file", first}
		}
		return cause{reason.PostgresLogin, "check user and password, and that a line of pg_hba.conf admits the role " + role + " to this database (the line has to have the name of the database, not the word replication)", first}
	case "3D000": // no such database
		return cause{reason.DatabaseMissing, "create the database or correct its name", true}
	case "42501": // insufficient_privilege
		switch {
		case strings.HasPrefix(e.Routine, "set_config"): // texts are translated, names of functions are not
			return cause{reason.ConnectionParameter, "remove the parameter from the connection string, or allow the role " + role + " to set it", first}
		case n.walsender:
			return cause{reason.PrivilegeMissing, mayStream(n), first}
		}
		return cause{reason.PrivilegeMissing, "run: GRANT CONNECT ON DATABASE " + database + " TO " + role, first}
	case "22023", "42704": // a parameter that the server does not know, or that this role may not set
		return cause{reason.ConnectionParameter, "remove the parameter from the connection string; a pooler has to forward replication connections", first}
	case "08P01": // protocol_violation: PgBouncer's code for any error, even for an unreachable server and a full pool
		return cause{reason.PoolerBetween, "this error comes from a pooler: set postgres.url to the server itself, or configure the pooler to accept the startup parameters that its message names, and to forward replication connections", false}
	case "57P03": // starting, stopping, or a standby without hot_standby
		return cause{reason.PostgresNotReady, "see the server's log for its progress; if it is a standby that accepts no connections, connect to the primary", false}
	case "53300": // the limit of the server, the role or the database; for a replication connection also max_wal_senders
		return cause{reason.TooManyConnections, fmt.Sprintf("walpost needs up to %d connections, one of them a walsender: end unused sessions, or raise the limit that the error names "+
			"(max_connections, max_wal_senders, ALTER ROLE %s CONNECTION LIMIT, ALTER DATABASE %s CONNECTION LIMIT)", SessionsNeeded, role, database), false}
	case "55000": // the database does not allow connections
		return cause{reason.DatabaseClosed, "run: ALTER DATABASE " + database + " ALLOW_CONNECTIONS true", false}
	}
	return cause{Reason(e), "", false}
}

// SeveralHosts reports whether a connection string names more than one server. A server that is tried with and without TLS counts once.
func SeveralHosts(cfg *pgconn.Config) bool {
	for _, f := range cfg.Fallbacks {
		if f.Host != cfg.Host || f.Port != cfg.Port {
			return true
		}
	}
	return false
}
