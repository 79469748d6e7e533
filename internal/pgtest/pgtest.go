package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/testenv/long"
	"walpost/internal/testenv/need"
)

// Variable names the environment variable with the DSN of a superuser of the
// server that tests shall use; with _14 and so on behind it, the server for
// that major version.
const Variable = "WALPOST_TEST_POSTGRES"

// MajorVariable is the variable for a major version; 0 is any.
func MajorVariable(major int) string {
	if major == 0 {
		return Variable
	}
	return fmt.Sprintf("%s_%d", Variable, major)
}

// Majors returns the major versions for a test of what is the same on all of
// them: the server of this test run, which is 0, and in the long size the oldest
// and the newest too. A test of what one version does names that version.
func Majors() []int { return long.Or([]int{0}, []int{0, OldestMajor, NewestMajor}) }

// DB is a database that one test has to itself. Replication slots, roles and
// publications' names are not all as private: slots and roles belong to the
// whole server, so derive their names from Name.
type DB struct {
	// Name is lower-case letters, digits and underscores, at most 48 bytes:
	// good as a slot's and a role's name too.
	Name string
	// DSN is a superuser's.
	DSN string
	// Major is the server's major version.
	Major int
}

// New gives the test a fresh database on the server of this test run. At the
// test's end it is dropped with its slots, whoever still uses them.
func New(t testing.TB) *DB {
	t.Helper()
	return newDB(t, 0)
}

// NewMajor is [New] on a server of a given major version.
func NewMajor(t testing.TB, major int) *DB {
	t.Helper()
	return newDB(t, major)
}

// Start starts a server of the test's own, ended and removed with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Launch(t.Context(), o)
	need.Met(t, err)
	t.Cleanup(func() { closeWith(t, s) })
	return s
}

// closeWith ends a server with its test.
func closeWith(t testing.TB, s *Server) {
	if t.Failed() {
		t.Logf("Postgres's log:\n%s", s.Log())
	}
	if err := s.Close(); err != nil {
		t.Errorf("close Postgres: %v", err)
	}
}

// Connect opens a session in the database, closed with the test.
func (d *DB) Connect(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.DSN)
	if err != nil {
		t.Fatalf("connect to database %s: %v", d.Name, err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Exec runs statements in the database, each in a transaction of its own.
func (d *DB) Exec(t testing.TB, statements ...string) {
	t.Helper()
	err := session(t.Context(), d.DSN, func(conn *pgx.Conn) error {
		for _, sql := range statements {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func newDB(t testing.TB, major int) *DB {
	t.Helper()
	server, err := shared(t.Context(), major)
	need.Met(t, err)
	db := &DB{Name: uniqueName(t.Name()), Major: server.major}
	db.DSN, err = withDatabase(server.dsn, db.Name)
	if err == nil {
		err = createDatabase(t.Context(), server.dsn, db.Name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context is done by now.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := dropDatabase(ctx, server.dsn, db.Name); err != nil {
			t.Error(err)
		}
	})
	return db
}

// uniqueName makes a name of the test's that no other run of it has.
func uniqueName(test string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, strings.TrimPrefix(test, "Test"))
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails, by its documentation
	return fmt.Sprintf("walpost_%.26s_%s", clean, hex.EncodeToString(random[:]))
}
