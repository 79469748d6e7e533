package pgtest

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// A database is dropped even if it has everything that makes DROP DATABASE fail.
func TestNewDropsWhateverHoldsTheDatabase(t *testing.T) {
	var db *DB
	outer := t // its connections are still open when the database is dropped
	t.Run("use", func(t *testing.T) {
		db = New(t)
		db.Exec(t, "CREATE TABLE t (i int)",
			"SELECT pg_create_logical_replication_slot('"+db.Name+"', 'pgoutput')",
			"BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'it''s "+db.Name+"'")
		db.Connect(outer)
		streamSlot(outer, db)
	})
	if t.Failed() {
		return
	}
	rest := New(t)
	var left int
	query := `SELECT (SELECT count(*) FROM pg_database WHERE datname = $1)
		+ (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1)
		+ (SELECT count(*) FROM pg_prepared_xacts WHERE database = $1)`
	if err := rest.Connect(t).QueryRow(t.Context(), query, db.Name).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left != 0 {
		t.Errorf("%d things are left of database %s", left, db.Name)
	}
}

// streamSlot opens a walsender on the database's slot and leaves it open.
func streamSlot(t *testing.T, db *DB) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.DSN+"&replication=database")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	start := "START_REPLICATION SLOT " + db.Name + " LOGICAL 0/0 (proto_version '1', publication_names 'none')"
	conn.PgConn().Frontend().SendQuery(&pgproto3.Query{String: start})
	if err := conn.PgConn().Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	// CopyBothResponse means that the slot is active.
	if _, err := conn.PgConn().ReceiveMessage(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNewGivesEachTestAName(t *testing.T) {
	a, b := New(t), New(t)
	if a.Name == b.Name {
		t.Errorf("two databases are called %s", a.Name)
	}
	if a.Name != strings.ToLower(a.Name) || len(a.Name) > 48 {
		t.Errorf("%q is no good as a slot's name", a.Name)
	}
	var inside string
	if err := a.Connect(t).QueryRow(t.Context(), "SELECT current_database()").Scan(&inside); err != nil {
		t.Fatal(err)
	}
	if inside != a.Name {
		t.Errorf("the DSN of %s leads to %s", a.Name, inside)
	}
}

func TestNewMajor(t *testing.T) {
	for _, major := range []int{OldestMajor, NewestMajor} {
		db := NewMajor(t, major)
		if db.Major != major {
			t.Errorf("asked for version %d, got %d", major, db.Major)
		}
		db.Exec(t, "SELECT pg_create_logical_replication_slot('"+db.Name+"', 'pgoutput')")
	}
}
