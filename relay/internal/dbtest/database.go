// Package dbtest provides a database for the tests of package relay and its subpackages, with schema walpost applied. Its helpers write to
// the outbox, read the catalog, wait for facts, and check logs, errors and the findings of a diagnosis.
//
// It runs no relay. Package relay embeds [Database] in a fixture that does.
package dbtest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"walpost/internal/catalog"
	"walpost/internal/pgtest"
	"walpost/relay/postgres"
	"walpost/schema"
)

// Database is a database with schema walpost and the default outbox. Its methods end the test if Postgres returns an error.
type Database struct {
	T    testing.TB
	DSN  string // as superuser
	Conn *pgx.Conn
	Logs *Logs  // the log of everything that works on the database
	Slot string // a unique name, because slots belong to the whole server
}

// New returns a database on the shared server. At the end of the test it is dropped, with its slots.
func New(t testing.TB) *Database {
	t.Helper()
	return On(t, pgtest.New(t).DSN)
}

// On prepares the database of a DSN.
func On(t testing.TB, dsn string) *Database {
	t.Helper()
	d := &Database{T: t, DSN: dsn, Logs: NewLogs(t)}
	d.Reconnect()
	if err := catalog.Apply(t.Context(), d.Conn, schema.Options{}); err != nil {
		t.Fatal(err)
	}
	d.Slot = "walpost_" + strings.ToLower(d.Ask("select current_database()"))
	return d
}

// Config returns the configuration of a relay or a command for the database.
func (d *Database) Config() postgres.Config {
	return postgres.Config{ConnString: d.DSN, Slot: d.Slot, Publication: "walpost", Table: schema.DefaultTable, Mapping: schema.DefaultMapping(),
		Logger: d.Logs.Logger()}
}

// Reconnect gives the database a new connection, as after a restart of the server.
func (d *Database) Reconnect() {
	d.T.Helper()
	conn, err := pgx.Connect(d.T.Context(), d.DSN)
	if err != nil {
		d.T.Fatal(err)
	}
	d.Conn = conn
	d.T.Cleanup(func() { conn.Close(context.Background()) })
}

// Exec runs one statement.
func (d *Database) Exec(sql string, args ...any) {
	d.T.Helper()
	if _, err := d.Conn.Exec(d.T.Context(), sql, args...); err != nil {
		d.T.Fatalf("%s: %v", sql, err)
	}
}

// Insert inserts n events in one transaction.
func (d *Database) Insert(n int) {
	d.T.Helper()
	d.Exec(`insert into walpost.outbox (aggregatetype, aggregateid, type, payload) select 'order', g::text, 'placed', jsonb_build_object('n', g) from generate_series(1, $1) g`, n)
}

// IDs returns the ids in the outbox, in the order of insertion.
func (d *Database) IDs() (ids []string) {
	d.T.Helper()
	rows, err := d.Conn.Query(d.T.Context(), "select id::text from walpost.outbox order by ctid")
	if err == nil {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		d.T.Fatal(err)
	}
	return ids
}

// Ask returns the text that a query returns.
func (d *Database) Ask(sql string) (text string) {
	d.T.Helper()
	if err := d.Conn.QueryRow(d.T.Context(), sql).Scan(&text); err != nil {
		d.T.Fatalf("%s: %v", sql, err)
	}
	return text
}

// LSN returns the position that a query returns, 0 for none.
func (d *Database) LSN(sql string) pglogrepl.LSN {
	d.T.Helper()
	lsn, err := pglogrepl.ParseLSN(d.Ask("select coalesce((" + sql + ")::text, '0/0')"))
	if err != nil {
		d.T.Fatal(err)
	}
	return lsn
}

// Confirmed returns where the slot stands.
func (d *Database) Confirmed() pglogrepl.LSN {
	d.T.Helper()
	return d.LSN("select confirmed_flush_lsn from pg_replication_slots where slot_name = '" + d.Slot + "'")
}

// Slots counts the slots of the database.
func (d *Database) Slots() (n int) {
	d.T.Helper()
	if err := d.Conn.QueryRow(d.T.Context(), "select count(*) from pg_replication_slots where database = current_database()").Scan(&n); err != nil {
		d.T.Fatal(err)
	}
	return n
}

// Phase returns the recorded phase of the slot, "" for none.
func (d *Database) Phase() (phase string) {
	d.T.Helper()
	err := d.Conn.QueryRow(d.T.Context(), "select phase from walpost.relay_state where slot = $1", d.Slot).Scan(&phase)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		d.T.Fatal(err)
	}
	return phase
}

// Role creates a role for the rest of the test, with attributes such as LOGIN, and returns its name. The name begins with the slot's name.
func (d *Database) Role(suffix, attributes string) (role string) {
	d.T.Helper()
	role = d.Slot + "_" + suffix
	d.Exec("create role " + role + " " + attributes)
	d.T.Cleanup(func() { // the test's own context is done by then
		d.Conn.Exec(context.Background(), "drop owned by "+role)
		d.Conn.Exec(context.Background(), "drop role "+role)
	})
	return role
}

// As returns the DSN for another user, or for user:password.
func (d *Database) As(user string) string { return strings.Replace(d.DSN, "postgres@", user+"@", 1) }
