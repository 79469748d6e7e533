package pgtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
)

// Options says which server to start. The zero value is fine for most tests.
type Options struct {
	// Major is the major version. 0 means the newest on this machine, or if there is none, the newest that can be downloaded.
	Major int
	// Settings go into postgresql.conf and override those of this package: wal_level=logical, fsync=off, 200 connections, 50 slots and WAL
	// senders, and 20 prepared transactions.
	Settings map[string]string
	// HBA are lines of pg_hba.conf for all users except the superuser postgres, who is always trusted. If it is empty, all users are
	// trusted.
	HBA []string
	// SSL makes the server offer TLS with a certificate of its own authority,
	// [Server.CA].
	SSL bool
	// ClientCA is the path of the certificate authority for client certificates. It is used with SSL, if a line in HBA has clientcert.
	ClientCA string
}

// Mode is a shutdown mode of Postgres.
type Mode syscall.Signal

const (
	Smart     = Mode(syscall.SIGTERM) // waits until every client has gone
	Fast      = Mode(syscall.SIGINT)  // ends the sessions, waits for walsenders, writes a checkpoint
	Immediate = Mode(syscall.SIGQUIT) // ends at once, and recovers at the next start
)

// String returns Postgres's name for the mode.
func (m Mode) String() string {
	return map[Mode]string{Smart: "smart", Fast: "fast", Immediate: "immediate"}[m]
}

// settings returns the server's settings. The caller's override those of this package.
func (o Options) settings() map[string]string {
	settings := map[string]string{
		"wal_level":                 "logical",
		"max_connections":           "200",
		"max_replication_slots":     "50",
		"max_wal_senders":           "50",
		"max_prepared_transactions": "20",
		"fsync":                     "off",
		"listen_addresses":          "127.0.0.1",
		// No socket file: its path may have at most 107 bytes, and a path in a scratch folder may be longer.
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

// conf returns the text of postgresql.conf. The settings are in the file, not on the command line, so that a test can change them with
// ALTER SYSTEM.
func (o Options) conf() string {
	var b strings.Builder
	settings := o.settings()
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	return b.String()
}

// hba returns the text of pg_hba.conf.
func (o Options) hba() string {
	lines := []string{"host all postgres 127.0.0.1/32 trust", "host replication postgres 127.0.0.1/32 trust"}
	if len(o.HBA) == 0 {
		lines = append(lines, "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust")
	}
	return strings.Join(append(lines, o.HBA...), "\n") + "\n"
}
