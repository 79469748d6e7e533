package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/schema"
)

func TestSchemaApplyAndCheck(t *testing.T) {
	db := pgtest.New(t)
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)

	code, stdout, stderr := command(t, "schema", "check")
	if code != 3 || !strings.Contains(stdout, "schema apply") || stderr != "" {
		t.Errorf("check of an empty database: exit %d\n%s%s", code, stdout, stderr)
	}
	for range 2 {
		code, stdout, stderr = command(t, "schema", "apply")
		if code != 0 || stdout != "schema walpost is at version 2, outbox walpost.outbox exists, in "+place(t, db.DSN)+"\n" || stderr != "" {
			t.Fatalf("apply: exit %d\n%s%s", code, stdout, stderr)
		}
	}
	code, stdout, stderr = command(t, "schema", "check")
	if code != 0 || stdout != "schema walpost is at version 2, outbox walpost.outbox exists, no differences\n" || stderr != "" {
		t.Errorf("check: exit %d\n%s%s", code, stdout, stderr)
	}
	db.Exec(t, "drop table walpost.inbox", "alter publication walpost drop table walpost.outbox")
	code, stdout, _ = command(t, "schema", "check")
	if code != 3 || strings.Count(stdout, "\n") < 2 || !strings.Contains(stdout, "walpost.inbox") || !strings.Contains(stdout, "publication walpost") {
		t.Errorf("check of what was altered: exit %d\n%s", code, stdout)
	}
}

func TestSchemaRolesAndTable(t *testing.T) {
	db := pgtest.New(t)
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	app, relay := "app_"+db.Name, "relay_"+db.Name
	db.Exec(t, "create schema shop", "create role "+app+" login", "create role "+relay+" login replication")
	// Roles belong to the whole server, so they are dropped at the end. The context of the test has ended by then.
	conn, err := pgx.Connect(context.Background(), db.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, role := range []string{app, relay} {
			if _, err := conn.Exec(context.Background(), "drop owned by "+role+"; drop role "+role); err != nil {
				t.Error(err)
			}
		}
		conn.Close(context.Background())
	})
	roles := []string{"--app-role", app, "--relay-role", relay, "--table", "shop.events"}
	code, stdout, stderr := command(t, append([]string{"schema", "apply"}, roles...)...)
	if code != 0 || !strings.Contains(stdout, "outbox shop.events exists") {
		t.Fatalf("apply: exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr = command(t, append([]string{"schema", "check"}, roles...)...); code != 0 {
		t.Errorf("check: exit %d\n%s%s", code, stdout, stderr)
	}
	db.Exec(t, "revoke insert on shop.events from "+app)
	if code, stdout, _ = command(t, append([]string{"schema", "check"}, roles...)...); code != 3 || !strings.Contains(stdout, app) {
		t.Errorf("check without a right: exit %d\n%s", code, stdout)
	}
	_, stdout, _ = command(t, append([]string{"schema", "print"}, roles...)...)
	for _, want := range []string{app, relay, "shop.events"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("print: no %s", want)
		}
	}
}

// apply creates the schema even if wal_level does not allow streaming yet, and prints a hint.
func TestSchemaApplyTellsOfWALLevel(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_level": "replica"}})
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", server.DSN("postgres"))
	code, stdout, stderr := command(t, "schema", "apply")
	if code != 0 || stdout != "schema walpost is at version 2, outbox walpost.outbox exists, in "+place(t, server.DSN("postgres"))+"\n" ||
		stderr != "walpost: wal_level is replica, and walpost run needs logical; run: ALTER SYSTEM SET wal_level = logical, and restart the server\n" {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

// TestSchemaApplyDropsPublish: an outbox with other column names has no publish(), and apply says that it drops one that is there.
func TestSchemaApplyDropsPublish(t *testing.T) {
	db := pgtest.New(t)
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	db.Exec(t, "create table public.events (id uuid, aggregatetype text, key text, type text, payload jsonb)")
	t.Setenv("WALPOST_OUTBOX_COLUMNS_AGGREGATEID", "key")
	for i, table := range []string{"public.events", "walpost.outbox", "public.events"} {
		if table == "walpost.outbox" {
			os.Unsetenv("WALPOST_OUTBOX_COLUMNS_AGGREGATEID")
		} else {
			os.Setenv("WALPOST_OUTBOX_COLUMNS_AGGREGATEID", "key")
		}
		code, stdout, stderr := command(t, "schema", "apply", "--table", table)
		if says := strings.Contains(stderr, "dropped function walpost.publish()"); code != 0 || says != (i == 2) {
			t.Errorf("%s: exit %d\n%s%s", table, code, stdout, stderr)
		}
	}
}

// If a person has to decide something, apply fails and leaves nothing behind.
func TestSchemaApplyToAnUnsuitableTable(t *testing.T) {
	db := pgtest.New(t)
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	db.Exec(t, "create table public.events (id int, aggregatetype text, aggregateid text, type text, payload int)")
	code, stdout, stderr := command(t, "schema", "apply", "--table", "public.events")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "payload") || !strings.Contains(stderr, "integer") || strings.Count(stderr, "apply schema") != 1 {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	var there bool
	if err := db.Connect(t).QueryRow(t.Context(), "select to_regnamespace('walpost') is not null").Scan(&there); err != nil || there {
		t.Errorf("schema walpost is there: %v %v", there, err)
	}
	code, _, stderr = command(t, "schema", "apply", "--postgres-url", strings.Replace(db.DSN, db.Name, "nosuch", 1))
	if code != 1 || !strings.Contains(stderr, "create the database or correct its name") {
		t.Errorf("no such database: exit %d\n%s", code, stderr)
	}
}

func TestSchemaPrintIsTheSchemas(t *testing.T) {
	clean(t)
	code, stdout, _ := command(t, "schema", "print")
	if want := schema.Script(schema.Options{}); code != 0 || stdout != want {
		t.Errorf("exit %d\n%s", code, stdout)
	}
}

func TestSchemaOnlyInbox(t *testing.T) {
	db := pgtest.New(t)
	clean(t)
	t.Setenv("WALPOST_POSTGRES_URL", db.DSN)
	code, stdout, stderr := command(t, "schema", "check", "--only", "inbox")
	if code != 3 || stdout != "table walpost.inbox: found nothing, wanted a table; cure: walpost schema apply --only inbox\n" || stderr != "" {
		t.Errorf("check of an empty database: exit %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = command(t, "schema", "apply", "--only", "inbox")
	if code != 0 || stdout != "table walpost.inbox exists in the form of version 2, in "+place(t, db.DSN)+"\n" || stderr != "" {
		t.Errorf("apply: exit %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = command(t, "schema", "check", "--only", "inbox")
	if code != 0 || stdout != "table walpost.inbox exists in the form of version 2, no differences\n" || stderr != "" {
		t.Errorf("check: exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := command(t, "schema", "print", "--only", "inbox"); code != 0 || stdout != schema.Script(schema.Options{OnlyInbox: true}) {
		t.Errorf("print: exit %d\n%s", code, stdout)
	}
	for _, args := range [][]string{
		{"apply", "--only", "outbox"},
		{"apply", "--only="},
		{"apply", "--only", "inbox", "--relay-role", "walpost"},
		{"print", "--only", "inbox", "--checks"},
	} {
		if code, stdout, stderr := command(t, append([]string{"schema"}, args...)...); code != exitUsage || stdout != "" || !strings.Contains(stderr, "--only") {
			t.Errorf("%q: exit %d\n%s%s", args, code, stdout, stderr)
		}
	}
	if code, stdout, stderr := command(t, "schema", "apply", "--app-role", "public"); code != exitUsage || !strings.Contains(stderr, "name the role of a service") {
		t.Errorf("rights for everybody: exit %d\n%s%s", code, stdout, stderr)
	}
}

// place returns a database in the form in which commands print where they changed something.
func place(t *testing.T, dsn string) string {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("database %s at %s:%d", c.Database, c.Host, c.Port)
}
