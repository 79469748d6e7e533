package postgres

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"walpost/schema"
)

// Risk is something that works but endangers data or the database, and its cure.
type Risk struct {
	What, Cure string
}

// UnencryptedRisk returns the risk of an unencrypted connection; nil if the connection is encrypted, or does not leave this machine.
// libpq's default, sslmode=prefer, asks for TLS and goes on without it.
func (d *DB) UnencryptedRisk() *Risk {
	conn := d.PgConn().Conn()
	if _, ok := conn.(*tls.Conn); ok {
		return nil
	}
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return nil
	}
	return &Risk{fmt.Sprintf("the connection to Postgres at %s is not encrypted: anyone on the network path can read and change events and logins", tcp),
		"give the server a certificate, and set sslmode=verify-full and sslrootcert in postgres.url"}
}

// SlotLimitRisk returns the risk of a server that does not limit the WAL of a slot; nil if it does.
func (d *DB) SlotLimitRisk(ctx context.Context) (*Risk, error) {
	var unlimited bool
	if err := d.QueryRow(ctx, "select pg_catalog.current_setting('max_slot_wal_keep_size') = '-1'").Scan(&unlimited); err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	if !unlimited {
		return nil, nil
	}
	return &Risk{"max_slot_wal_keep_size is unlimited: while no relay runs, or Kafka is away, WAL accumulates until the disk is full and the database stops",
		"run: ALTER SYSTEM SET max_slot_wal_keep_size = " + schema.QuoteLiteral("50GB") + " (less than the free disk space, and more than the WAL of a long outage), then SELECT pg_reload_conf()"}, nil
}
