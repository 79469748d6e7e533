package config

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Warnings returns the problems of the configuration that are not errors, one sentence each, without secrets.
func (c *Config) Warnings() []string { return c.warnings }

func (c *Config) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

// warnOfOverridden warns of libpq's variables that DATABASE_URL overrides: a user who set both meant only one of them.
func (c *Config) warnOfOverridden(environ []string) {
	if c.origins["postgres.url"] != databaseURL {
		return
	}
	pg, err := pgconn.ParseConfig(string(c.Postgres.URL))
	if err != nil {
		return // validate reports it
	}
	var overridden []string
	for _, v := range []struct{ name, inForce string }{
		{"PGHOST", pg.Host}, {"PGPORT", strconv.Itoa(int(pg.Port))}, {"PGDATABASE", pg.Database}, {"PGUSER", pg.User},
	} {
		for _, set := range environ {
			if value, ok := strings.CutPrefix(set, v.name+"="); ok && value != "" && value != v.inForce {
				overridden = append(overridden, v.name)
			}
		}
	}
	if len(overridden) > 0 {
		c.warn("%s overrides %s, which %s something else; unset it, or set WALPOST_POSTGRES_URL", databaseURL, strings.Join(overridden, ", "),
			map[bool]string{true: "names", false: "name"}[len(overridden) == 1])
	}
}

// warnOfLater warns of values that only a later version supports, in one warning for all of them.
func (c *Config) warnOfLater() {
	var parts []string
	for i := range keys {
		k := &keys[i]
		origin := c.origins[k.path]
		if k.later == "" || origin == "" || c.text(k) != k.later {
			continue
		}
		means := fmt.Sprintf(": %s acts as %s", k.later, k.now)
		if k.now == "" {
			means = " has no effect"
		}
		parts = append(parts, origin+": "+k.path+means)
	}
	if len(parts) > 0 {
		c.warn("%s: this version of walpost does not have that yet", strings.Join(parts, "; "))
	}
}

// place matches an origin in the configuration file: its name, line and column.
var place = regexp.MustCompile(`^(.*):\d+:\d+$`)

// warnOfSecrets warns of secrets that others on this machine can read: in files, and in the process list.
func (c *Config) warnOfSecrets(environ []string) {
	for i := range keys {
		k := &keys[i]
		switch file, origin := c.files[k.path], c.origins[k.path]; {
		case file != "":
			c.warnOfFile(origin+": "+k.path, file)
		case !k.secret || k.path == "postgres.url" && !hasPassword(string(c.Postgres.URL)):
		case origin == "--postgres-url":
			c.warn("--postgres-url: everybody on this machine sees the password in the process list; set WALPOST_POSTGRES_URL, or use libpq's password file")
		default:
			if in := place.FindStringSubmatch(origin); in != nil {
				c.warnOfFile(origin+": "+k.path, in[1])
			}
		}
	}
	if file := c.Kafka.SSLKeyLocation; file != "" {
		c.warnOfFile(c.origins["kafka.ssl.key.location"]+": kafka.ssl.key.location", file)
	}
	c.warnOfFile(passwordFile(string(c.Postgres.URL), environ))
}

// warnOfFile warns of a file that holds a secret and that others may read.
func (c *Config) warnOfFile(what, name string) {
	if warning := WorldReadable(name); warning != "" {
		c.warn("%s: %s", what, warning)
	}
}

// WorldReadable returns a warning, with the cure, if everybody may read a file that holds a secret; "" if not, or if the file does not
// exist. Its group may read it: orchestrators use that to give secrets to a process that does not own the files.
func WorldReadable(name string) string {
	if name == "" {
		return ""
	}
	info, err := os.Stat(name)
	if err != nil || info.IsDir() || info.Mode().Perm()&0o004 == 0 {
		return ""
	}
	return fmt.Sprintf("others on this machine may read %s (mode %#o); run: chmod o-rwx %[1]s (a secret of Kubernetes: set defaultMode: 0440)", name, info.Mode().Perm())
}

// hasPassword reports whether a connection string itself has a password.
func hasPassword(connString string) bool {
	return parameter(connString, "password") != "" || parameter(connString, "sslpassword") != ""
}

// passwordFile returns libpq's password file, and what names it.
func passwordFile(connString string, environ []string) (what, name string) {
	if file := parameter(connString, "passfile"); file != "" {
		return "passfile", file
	}
	home := ""
	for _, v := range environ {
		switch name, value, _ := strings.Cut(v, "="); {
		case name == "PGPASSFILE" && value != "":
			return name, value
		case name == "HOME":
			home = value
		}
	}
	if home == "" {
		return "", ""
	}
	return "~/.pgpass", filepath.Join(home, ".pgpass")
}

// parameter returns the value of one of libpq's parameters in a connection string; "" if it is not set there.
func parameter(connString, name string) string {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if !strings.HasPrefix(connString, scheme) {
			continue
		}
		u, err := url.Parse(connString)
		if err != nil {
			return ""
		}
		if password, ok := u.User.Password(); ok && name == "password" {
			return password
		}
		return u.Query().Get(name)
	}
	value := ""
	for key, v := range keywords(connString) {
		if key == name {
			value = v
		}
	}
	return value
}
