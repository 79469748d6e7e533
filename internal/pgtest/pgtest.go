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

// Variable is the environment variable with a superuser's DSN of the server that tests should use. With _14 and so on at its end, it is for
// that major version.
const Variable = "WALPOST_TEST_POSTGRES"

// MajorVariable returns the variable for a major version; 0 means any.
func MajorVariable(major int) string {
	if major == 0 {
		return Variable
	}
	return fmt.Sprintf("%s_%d", Variable, major)
}

// Majors returns the major versions for a test of behaviour that is the same on all of them: 0, which means the server of this test run,
// and in the long size also the oldest and the newest. A test of behaviour that only one version has should name that version.
func Majors() []int { return long.Or([]int{0}, []int{0, OldestMajor, NewestMajor}) }

// DB is a database for one test alone. Replication slots and roles belong to the whole server, so derive their names from Name.
type DB struct {
	// Name has lower-case letters, digits and underscores, and at most 48 bytes, so that it can also be the name of a slot or a role.
	Name string
	// DSN is the DSN for a superuser.
	DSN string
	// Major is the server's major version.
	Major int
}

// New creates a database for the test on the server of this test run. At the end of the test it drops the database and its slots, even if
// they are still in use.
func New(t testing.TB) *DB {
	t.Helper()
	return newDB(t, 0)
}

// NewMajor is like [New], on a server of a given major version.
func NewMajor(t testing.TB, major int) *DB {
	t.Helper()
	return newDB(t, major)
}

// Start starts a server for the test alone, which ends with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Launch(t.Context(), o)
	need.Met(t, err)
	t.Cleanup(func() { closeWith(t, s) })
	return s
}

// closeWith ends a server at the end of its test.
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

// uniqueName returns a name for the test that differs in every run.
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
