package pgtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
)

// Options says what server to start. The zero value is a good one.
type Options struct {
	// Major is the major version; 0 is the newest on this machine, and the
	// newest that can be fetched where there is none.
	Major int
	// Settings go into postgresql.conf and win over the package's own:
	// wal_level=logical, fsync=off, room for 200 connections, 50 slots and
	// senders and 20 prepared transactions.
	Settings map[string]string
	// HBA are lines of pg_hba.conf for everybody but the superuser postgres,
	// who is always trusted. None: everybody is.
	HBA []string
	// SSL makes the server offer TLS with a certificate of its own authority,
	// [Server.CA].
	SSL bool
	// ClientCA is the path of the authority that clients' certificates are
	// checked against, with SSL, where HBA asks for them by clientcert.
	ClientCA string
}

// Mode is how a server stops, in Postgres's own words.
type Mode syscall.Signal

const (
	Smart     = Mode(syscall.SIGTERM) // waits until every client has gone
	Fast      = Mode(syscall.SIGINT)  // ends the sessions, waits for walsenders, writes a checkpoint
	Immediate = Mode(syscall.SIGQUIT) // leaves everything as it lies, recovers at the next start
)

// String is Postgres's word for the mode.
func (m Mode) String() string {
	return map[Mode]string{Smart: "smart", Fast: "fast", Immediate: "immediate"}[m]
}

// settings are the server's settings, the package's own below the caller's.
func (o Options) settings() map[string]string {
	settings := map[string]string{
		"wal_level":                 "logical",
		"max_connections":           "200",
		"max_replication_slots":     "50",
		"max_wal_senders":           "50",
		"max_prepared_transactions": "20",
		"fsync":                     "off",
		"listen_addresses":          "127.0.0.1",
		// No socket file: its path is limited to 107 bytes, and a scratch
		// folder's may be longer.
		"unix_socket_directories": "",
	}
	if o.SSL {
		settings["ssl"] = "on"
		settings["ssl_cert_file"] = certFile
		settings["ssl_key_file"] = keyFile
	}
	if o.ClientCA != "" {
		settings["ssl_ca_file"] = clientCAFile
	}
	maps.Copy(settings, o.Settings)
	return settings
}

// conf is the text of postgresql.conf. The settings are in the file, not on
// the command line, so that a test can change them by ALTER SYSTEM.
func (o Options) conf() string {
	var b strings.Builder
	settings := o.settings()
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	return b.String()
}

// hba is the text of pg_hba.conf.
func (o Options) hba() string {
	lines := []string{"host all postgres 127.0.0.1/32 trust", "host replication postgres 127.0.0.1/32 trust"}
	if len(o.HBA) == 0 {
		lines = append(lines, "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust")
	}
	return strings.Join(append(lines, o.HBA...), "\n") + "\n"
}
