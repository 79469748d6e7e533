package config

import (
	"errors"
	"iter"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// checkConnString returns an error if a connection string is wrong. The error shows no part of it, because in a broken string nobody can
// tell where the password begins and ends.
func checkConnString(s string) error {
	if strayAt(s) {
		return errors.New("is not a connection string: it has an @ after the first slash, as if the password contained a slash; " + connStringForm)
	}
	c, err := pgx.ParseConfig(s)
	if err != nil {
		return explainConnString(err)
	}
	if _, asks := c.RuntimeParams["replication"]; asks {
		return errors.New("has the parameter replication, which turns each connection into a replication connection; remove it: walpost sets it itself where it streams")
	}
	return nil
}

const connStringForm = "write postgres://user:password@host:5432/database, " +
	"with special characters of the password percent-encoded (/ is %2F, @ is %40), or host=… user=… dbname=…"

// strayAt reports whether a URL has an @ where only an encoded one is allowed. libpq and pgx look for user and password only before the
// first slash. In postgres://relay:/secret@db/shop they take relay for the host and the password for the name of the database, which is not
// kept secret.
func strayAt(s string) bool {
	scheme, rest, _ := strings.Cut(s, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return false
	}
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		rest = rest[i+1:]
	}
	path, query, _ := strings.Cut(rest, "?")
	if strings.Contains(path, "@") {
		return true
	}
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		if strings.Contains(name, "@") || strings.Contains(value, "@") && !isParameter(name) {
			return true
		}
	}
	return false
}

func explainConnString(err error) error {
	var parse *pgconn.ParseConfigError
	if err == nil {
		return nil
	}
	if !errors.As(err, &parse) {
		return errors.New("is not a connection string")
	}
	bare := *parse
	bare.ConnString = ""
	reason := strings.TrimPrefix(bare.Error(), "cannot parse ``: ")
	// The text in parentheses may quote the string, except if it is about files and the names of settings.
	if about, _, _ := strings.Cut(reason, " ("); about != "failed to configure TLS" && about != "failed to read service" {
		reason = about
	}
	return errors.New("is not a connection string: " + strings.TrimPrefix(reason, "failed to ") + "; " + connStringForm)
}

// showable are the parameters whose values may be shown. Any other may be a password, or a misspelt name of one.
var showable = map[string]bool{}

func init() {
	for name := range strings.FieldsSeq(`host hostaddr port dbname database user service servicefile passfile sslmode sslcert sslkey sslrootcert
		sslsni sslnegotiation sslcertmode channel_binding require_auth krbsrvname krbspn connect_timeout target_session_attrs application_name
		min_protocol_version max_protocol_version search_path timezone`) {
		showable[name] = true
	}
}

// isParameter reports whether libpq has a parameter of this name. Its value may be secret.
func isParameter(name string) bool {
	return showable[name] || name == "password" || name == "sslpassword" || name == "options"
}

// redactConnString masks the secrets of a connection string. When in doubt it masks more.
func redactConnString(s string) string {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			return scheme + redactURL(rest)
		}
	}
	return redactKeywords(s)
}

func redactURL(rest string) string {
	rest, query, hasQuery := strings.Cut(rest, "?")
	if strings.Contains(query, "@") { // the question mark may be part of a password
		return mask
	}
	// The password ends at the last @, because a password that was not encoded may contain @, : and /.
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		if user, _, ok := strings.Cut(rest[:i], ":"); ok {
			rest = user + ":" + mask + rest[i:]
		}
	}
	if !hasQuery {
		return rest
	}
	var parts []string
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		if decoded, err := url.QueryUnescape(name); err != nil || !showable[decoded] {
			part = name + "=" + mask
		}
		parts = append(parts, part)
	}
	return rest + "?" + strings.Join(parts, "&")
}

// redactKeywords masks the secrets of a keyword string. It parses the string as libpq does: spaces around the equals sign, quotes,
// backslashes.
func redactKeywords(s string) string {
	var parts []string
	for name, value := range keywords(s) {
		if name == "" {
			return mask
		}
		if !showable[name] {
			value = mask
		}
		parts = append(parts, name+"="+value)
	}
	return strings.Join(parts, " ")
}

// keywords yields the names and values of a keyword string, as they are written. At text that is not in this form it yields an empty name
// with the rest of the string, and stops.
func keywords(s string) iter.Seq2[string, string] {
	const space = " \t\n\r\v\f"
	return func(yield func(name, value string) bool) {
		for s := strings.Trim(s, space); s != ""; s = strings.TrimLeft(s, space) {
			name, rest, ok := strings.Cut(s, "=")
			name = strings.Trim(name, space)
			if !ok || name == "" || strings.ContainsAny(name, space) {
				yield("", s)
				return
			}
			rest = strings.TrimLeft(rest, space)
			n := valueLength(rest)
			if !yield(name, rest[:n]) {
				return
			}
			s = rest[n:]
		}
	}
}

// valueLength returns how many bytes the value at the beginning of s has, quotes included.
func valueLength(s string) int {
	quoted := strings.HasPrefix(s, "'")
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case quoted && i > 0 && s[i] == '\'':
			return i + 1
		case !quoted && strings.IndexByte(" \t\n\r\v\f", s[i]) >= 0:
			return i
		}
	}
	return len(s)
}
