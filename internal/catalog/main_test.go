package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walpost/internal/pgtest"
	"walpost/schema"
)

// onEachMajor runs the test on the server of the run and, in the long size, on the oldest and the newest major.
func onEachMajor(t *testing.T, test func(t *testing.T, db *pgtest.DB)) {
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			t.Parallel()
			test(t, pgtest.NewMajor(t, major))
		})
	}
}

// deadline returns the context of a test: long enough for a busy machine, and short enough to show a hang.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, db *pgtest.DB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(deadline(t), db.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func execSQL(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(deadline(t), sql); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

func queryOne[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(deadline(t), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return v
}

// refused fails unless the command fails with the SQLSTATE.
func refused(t *testing.T, conn *pgx.Conn, code, sql string) {
	t.Helper()
	_, err := conn.Exec(deadline(t), sql)
	if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != code {
		t.Errorf("%s: %v, want SQLSTATE %s", sql, err, code)
	}
}

func mustApply(t *testing.T, conn *pgx.Conn, o schema.Options) {
	t.Helper()
	if err := Apply(deadline(t), conn, o); err != nil {
		t.Fatal(err)
	}
}

// clean fails if the database differs from o.
func clean(t *testing.T, conn *pgx.Conn, o schema.Options) {
	t.Helper()
	list, err := Check(deadline(t), conn, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		t.Errorf("difference: %v", d)
	}
}

// withRoles creates two roles and returns options that name them. Roles belong to the whole server, so their names contain that of the
// database.
func withRoles(t *testing.T, db *pgtest.DB, conn *pgx.Conn) schema.Options {
	t.Helper()
	o := schema.Options{AppRole: "app " + db.Name, RelayRole: "relay " + db.Name, Database: db.Name}
	for _, role := range []string{o.AppRole, o.RelayRole} {
		execSQL(t, conn, "create role "+schema.QuoteIdent(role)+" login")
		t.Cleanup(func() {
			conn, err := pgx.Connect(context.Background(), db.DSN)
			if err != nil {
				t.Errorf("drop role %s: %v", role, err)
				return
			}
			defer conn.Close(context.Background())
			if _, err := conn.Exec(context.Background(), "drop owned by "+schema.QuoteIdent(role)); err != nil {
				t.Errorf("drop what role %s owns: %v", role, err)
			}
			if _, err := conn.Exec(context.Background(), "drop role "+schema.QuoteIdent(role)); err != nil {
				t.Errorf("drop role %s: %v", role, err)
			}
		})
	}
	return o
}

// as returns a connection that acts as the role. It uses SET ROLE, so that it does not depend on the server's authentication.
func as(t *testing.T, db *pgtest.DB, role string) *pgx.Conn {
	t.Helper()
	conn := connect(t, db)
	execSQL(t, conn, "set role "+schema.QuoteIdent(role))
	return conn
}

func contains(list []schema.Difference, object string) bool {
	for _, d := range list {
		if strings.Contains(d.Object, object) {
			return true
		}
	}
	return false
}

func sqlState(err error) string {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}
