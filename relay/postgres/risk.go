package postgres

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"walpost/schema"
)

// Risk is what works and may cost more than it has to, with what a person can do about it.
type Risk struct {
	What, Cure string
}

// UnencryptedRisk returns the risk of a connection that everybody on the way can read; nil if it is encrypted, or does not leave this machine.
// sslmode=prefer, which is libpq's default, asks for TLS and goes on without.
func (d *DB) UnencryptedRisk() *Risk {
	conn := d.PgConn().Conn()
	if _, ok := conn.(*tls.Conn); ok {
		return nil
	}
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return nil
	}
	return &Risk{fmt.Sprintf("the connection to Postgres at %s is not encrypted: whoever is on the way reads, and can change, events and logins", tcp),
		"give the server a certificate, and set sslmode=verify-full and sslrootcert in postgres.url"}
}

// SlotLimitRisk returns the risk of a server on which a slot may keep WAL without a limit; nil if there is one.
func (d *DB) SlotLimitRisk(ctx context.Context) (*Risk, error) {
	var unlimited bool
	if err := d.QueryRow(ctx, "select pg_catalog.current_setting('max_slot_wal_keep_size') = '-1'").Scan(&unlimited); err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	if !unlimited {
		return nil, nil
	}
	return &Risk{"max_slot_wal_keep_size is unlimited: while no relay runs, or Kafka is away, WAL piles up until the disk is full and the database stops",
		"run: ALTER SYSTEM SET max_slot_wal_keep_size = " + schema.QuoteLiteral("50GB") + " (less than the disk has left, and more than a long outage writes), then SELECT pg_reload_conf()"}, nil
}
