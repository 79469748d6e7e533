package catalog

import (
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/schema"
)

// version1 creates schema walpost as in version 1.
func version1(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	script, err := os.ReadFile("testdata/version1.sql")
	if err != nil {
		t.Fatal(err)
	}
	execSQL(t, conn, string(script))
}

// cleanButForChecks fails if there is a difference other than the constraints of the outbox: nothing alters an outbox that version 1
// created.
func cleanButForChecks(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	list, err := Check(deadline(t), conn, schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		if !strings.HasPrefix(d.Object, "table walpost.outbox, constraint ") {
			t.Errorf("difference: %v", d)
		}
	}
	if len(list) != 2 {
		t.Errorf("%d differences, want the two constraints of the outbox: %v", len(list), list)
	}
}

// ways are the ways to upgrade the schema to this version.
var ways = map[string]func(t *testing.T, conn *pgx.Conn, o schema.Options) error{
	"apply": func(t *testing.T, conn *pgx.Conn, o schema.Options) error { return Apply(deadline(t), conn, o) },
	"in one transaction": func(t *testing.T, conn *pgx.Conn, o schema.Options) error {
		_, err := conn.Exec(deadline(t), schema.Script(o))
		return err
	},
	"one by one": func(t *testing.T, conn *pgx.Conn, o schema.Options) error {
		for statement := range strings.SplitSeq(schema.Script(o), ";\n") {
			if _, err := conn.Exec(deadline(t), statement); err != nil {
				return err
			}
		}
		return nil
	},
}

// An empty inbox of version 1 is upgraded, and the roles that could claim still can.
func TestEmptyInboxOfVersion1(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		o := withRoles(t, db, conn)
		for name, migrate := range ways {
			version1(t, conn)
			role := schema.QuoteIdent(o.AppRole)
			execSQL(t, conn, "grant usage on schema walpost to "+role+"; grant insert on walpost.inbox to "+role+"; grant execute on function walpost.claim(text, text) to "+role)
			for range 2 {
				if err := migrate(t, conn, schema.Options{}); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				cleanButForChecks(t, conn)
			}
			if queryOne[bool](t, conn, `select to_regclass('walpost.inbox_received_at') is not null`) {
				t.Errorf("%s: the index of version 1 is still there", name)
			}
			app := as(t, db, o.AppRole)
			if !queryOne[bool](t, app, `select walpost.claim('stock', 'e1')`) || queryOne[bool](t, app, `select walpost.claim('stock', 'e1')`) {
				t.Errorf("%s: the first claim is false or the second true", name)
			}
			execSQL(t, conn, "drop schema walpost cascade; drop publication walpost")
		}
	})
}

// An inbox with rows is refused. The error has the statement that upgrades it, and nothing is altered.
func TestInboxOfVersion1WithRows(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		for name, migrate := range ways {
			version1(t, conn)
			execSQL(t, conn, "select walpost.claim('stock', 'e1')")
			err := migrate(t, conn, schema.Options{})
			if err == nil || !strings.Contains(err.Error(), schema.InboxUpgrade) {
				t.Errorf("%s: %v, want the statement", name, err)
			}
			if name == "apply" && sqlState(err) != "" {
				t.Errorf("apply does not look before it tries: %v", err)
			}
			if v, err := Version(deadline(t), conn); err != nil || v != 1 {
				t.Errorf("%s was refused, and the schema is version %d, %v", name, v, err)
			}
			list, err := Check(deadline(t), conn, schema.Options{})
			if err != nil || !cures(list, schema.InboxUpgrade) || !cures(list, "walpost schema apply") {
				t.Fatalf("%s: check: %v, %v", name, list, err)
			}
			execSQL(t, conn, schema.InboxUpgrade)
			if !queryOne[bool](t, conn, "select walpost.claim('points', 'e1')") || queryOne[bool](t, conn, "select walpost.claim('stock', 'e1')") {
				t.Errorf("%s: claim() of version 1 does not work after the statement", name)
			}
			if err := migrate(t, conn, schema.Options{}); err != nil {
				t.Fatalf("%s, after the statement: %v", name, err)
			}
			cleanButForChecks(t, conn)
			if queryOne[bool](t, conn, "select walpost.claim('stock', 'e1')") || !queryOne[bool](t, conn, "select walpost.claim('stock', 'e1', '/shop')") {
				t.Errorf("%s: a claim of version 1 does not count, or for every source", name)
			}
			execSQL(t, conn, "drop schema walpost cascade; drop publication walpost")
		}
	})
}

// Running it again re-creates no table, index or constraint, and revokes no right.
func TestAgainChangesNothing(t *testing.T) {
	t.Parallel()
	const state = `
		select string_agg(what, E'\n' order by what) from (
			select concat_ws(' ', 'class', oid, relname, relfilenode, relacl) from pg_class where relnamespace = 'walpost'::regnamespace
			union all
			select concat_ws(' ', 'constraint', oid, conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace = 'walpost'::regnamespace
			union all
			select concat_ws(' ', 'function', oid, proacl, pg_get_functiondef(oid)) from pg_proc where pronamespace = 'walpost'::regnamespace
		) objects (what)`
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		o := withRoles(t, db, conn)
		mustApply(t, conn, o)
		before := queryOne[string](t, conn, state)
		for name, migrate := range ways {
			for _, o := range []schema.Options{o, {}} {
				if err := migrate(t, conn, o); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if after := queryOne[string](t, conn, state); after != before {
					t.Errorf("%s, again, made of\n%s\nthis:\n%s", name, before, after)
				}
			}
		}
	})
}

func TestPurgeInbox(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		mustApply(t, conn, schema.Options{})
		// It is refused whether or not there are rows to delete, and deletes none.
		for range 2 {
			for _, age := range []string{"'6 days 23:59:59'", "'0'", "'-30 days'", "null"} {
				_, err := conn.Exec(deadline(t), "select walpost.purge_inbox("+age+")")
				if sqlState(err) != "22P02" || !strings.Contains(err.Error(), "purge_inbox() keeps at least 7 days") {
					t.Errorf("purge_inbox(%s): %v", age, err)
				}
			}
			execSQL(t, conn, `insert into walpost.inbox (consumer, event_id, received_at)
				select 'stock', age::text, now() - age from unnest('{1 day, 7 days 00:00:01, 8 days, 40 days}'::interval[]) age on conflict do nothing`)
		}
		// The rights of the maintenance role in the README are enough.
		role := schema.QuoteIdent(withRoles(t, db, conn).AppRole)
		execSQL(t, conn, strings.ReplaceAll(maintenance(t), "janitor", role))
		execSQL(t, conn, "set role "+role)
		for _, c := range []struct {
			age  string
			want int64
		}{{"1 month", 1}, {"7 days", 2}, {"7 days", 0}} {
			if n := queryOne[int64](t, conn, "select walpost.purge_inbox('"+c.age+"')"); n != c.want {
				t.Errorf("purge_inbox(%s) deleted %d, want %d", c.age, n, c.want)
			}
		}
	})
}

// maintenance returns the grants that the README gives for purge_inbox().
func maintenance(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "purge_inbox(interval '")
	_, rest, sql := strings.Cut(rest, "```sql\n")
	block, _, end := strings.Cut(rest, "```")
	if !found || !sql || !end || !strings.Contains(block, "janitor") {
		t.Fatal("the README does not say which rights purge_inbox() takes")
	}
	return block
}

// A consumer's database gets the inbox and nothing else, in every way, and its role can claim and not delete.
func TestOnlyTheInbox(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		o := withRoles(t, db, conn)
		o.RelayRole, o.OnlyInbox = "", true
		for name, migrate := range ways {
			if list, err := Check(deadline(t), conn, o); err != nil || len(list) != 1 || !cures(list, "walpost schema apply --only inbox") {
				t.Errorf("%s: check of an empty database: %v, %v", name, list, err)
			}
			for range 2 {
				if err := migrate(t, conn, o); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if list, err := Check(deadline(t), conn, o); err != nil || len(list) > 0 {
					t.Errorf("%s: %v, %v", name, list, err)
				}
			}
			found := queryOne[string](t, conn, `select string_agg(name, ' ' order by name) from (
				select relname from pg_class where relnamespace = 'walpost'::regnamespace and relkind <> 'i'
				union all select proname from pg_proc where pronamespace = 'walpost'::regnamespace
				union all select pubname from pg_publication) made (name)`)
			if found != "claim claim inbox purge_inbox" {
				t.Errorf("%s made %s", name, found)
			}
			app := as(t, db, o.AppRole)
			if !queryOne[bool](t, app, `select walpost.claim('stock', 'e1')`) || queryOne[bool](t, app, `select walpost.claim('stock', 'e1', '')`) {
				t.Errorf("%s: the first claim is false or the second true", name)
			}
			if _, err := app.Exec(deadline(t), "delete from walpost.inbox"); sqlState(err) != "42501" {
				t.Errorf("%s: the consumer's delete: %v", name, err)
			}
			for damage, object := range map[string]string{
				"drop function walpost.claim(text, text, text)":                       "function walpost.claim(text, text, text)",
				"drop index walpost.inbox_age":                                        "index walpost.inbox_age",
				"revoke insert on walpost.inbox from " + schema.QuoteIdent(o.AppRole): "role " + o.AppRole,
			} {
				execSQL(t, conn, damage)
				list, err := Check(deadline(t), conn, o)
				if err != nil || len(list) == 0 || !strings.HasPrefix(list[0].Object, object) {
					t.Errorf("%s, after %s: %v, %v", name, damage, list, err)
				}
				if err := migrate(t, conn, o); err != nil {
					t.Fatalf("%s, after %s: %v", name, damage, err)
				}
			}
			execSQL(t, conn, "drop schema walpost cascade")
		}
	})
}

// The inbox alone says nothing of the rest. A database of version 1 stays one for the relay, and one that has all of this version stays as it
// is. Whether the configured outbox could be one does not matter.
func TestOnlyTheInboxBesideTheRest(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		only := schema.Options{OnlyInbox: true, Table: schema.Table{Schema: "public", Name: "unfit"}}
		execSQL(t, conn, "create table public.unfit (payload int)")
		for name, migrate := range ways {
			version1(t, conn)
			if err := migrate(t, conn, only); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if v, err := Version(deadline(t), conn); err != nil || v != 1 {
				t.Errorf("%s: the schema is version %d, %v", name, v, err)
			}
			if err := migrate(t, conn, schema.Options{}); err != nil {
				t.Fatalf("%s, all of it: %v", name, err)
			}
			if err := migrate(t, conn, only); err != nil {
				t.Fatalf("%s, once more: %v", name, err)
			}
			cleanButForChecks(t, conn)
			execSQL(t, conn, "create or replace function walpost.schema_version() returns integer language sql as 'select 99'")
			if err := Apply(deadline(t), conn, only); err == nil || !strings.Contains(err.Error(), "newer walpost") {
				t.Errorf("apply to a newer schema: %v", err)
			}
			if list, err := Check(deadline(t), conn, only); err != nil || len(list) != 1 || list[0].Found != "version 99" {
				t.Errorf("check of a newer schema: %v, %v", list, err)
			}
			execSQL(t, conn, "drop schema walpost cascade; drop publication walpost")
		}
	})
}

// TestScriptThatGoesOn: psql goes on after an error unless it is told not to. An inbox of version 1 with rows is not altered then either, and
// the schema does not claim a version that it does not have.
func TestScriptThatGoesOn(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		version1(t, conn)
		execSQL(t, conn, "select walpost.claim('stock', 'e1')")
		goOn := func() (refused int) {
			for statement := range strings.SplitSeq(schema.Script(schema.Options{}), ";\n") {
				if _, err := conn.Exec(deadline(t), statement); err != nil {
					refused++
				}
			}
			return refused
		}
		if goOn() == 0 {
			t.Error("nothing was refused")
		}
		if queryOne[bool](t, conn, "select exists (select from pg_attribute where attrelid = 'walpost.inbox'::regclass and attname = 'source')") {
			t.Error("the inbox was altered although it has rows")
		}
		if v, err := Version(deadline(t), conn); err != nil || v != 1 {
			t.Errorf("the schema is version %d, %v", v, err)
		}
		execSQL(t, conn, schema.InboxUpgrade)
		if n := goOn(); n > 0 {
			t.Errorf("%d statements were refused after the cure", n)
		}
		cleanButForChecks(t, conn)
	})
}
