package catalog

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/pgtest"
	"walpost/schema"
)

// Check finds every kind of difference, and running the cure literally removes it.
func TestCheckFindsAndCures(t *testing.T) {
	t.Parallel()
	damages := []struct {
		sql    string
		object string // the object of the difference
		says   string // a part of its text
	}{
		{`drop table walpost.outbox`, "table walpost.outbox", "nothing"},
		{`drop publication walpost; alter table walpost.outbox set unlogged`, "table walpost.outbox", "not in the WAL"},
		{`alter table walpost.outbox alter column id drop default`, "table walpost.outbox, column id", "gen_random_uuid()"},
		{`alter table walpost.outbox alter column created_at drop default`, "table walpost.outbox, column created_at", "clock_timestamp()"},
		{`alter table walpost.outbox drop constraint walpost_headers`, "table walpost.outbox, constraint walpost_headers", "jsonb_typeof"},
		{`alter table walpost.outbox drop constraint walpost_aggregatetype; insert into walpost.outbox (aggregatetype, type) values ('not now', '')`,
			"table walpost.outbox, constraint walpost_aggregatetype", "A-Za-z0-9"},
		{`drop table walpost.inbox`, "table walpost.inbox", "nothing"},
		{`drop table walpost.dead_letters`, "table walpost.dead_letters", "nothing"},
		{`drop table walpost.relay_state`, "table walpost.relay_state", "nothing"},
		{`drop index walpost.dead_letters_person_key`, "index walpost.dead_letters_person_key", "nothing"},
		{`drop index walpost.dead_letters_age`, "index walpost.dead_letters_age", "nothing"},
		{`drop index walpost.inbox_age`, "index walpost.inbox_age", "nothing"},
		{`alter table walpost.inbox drop constraint inbox_pkey, drop column source, add constraint inbox_pkey primary key (consumer, event_id)`,
			"table walpost.inbox", "the form of version 1"},
		{`alter table walpost.inbox drop constraint inbox_pkey`, "table walpost.inbox", "unique key (consumer, source, event_id)"},
		{`alter table walpost.inbox alter column event_id type text collate "POSIX"`, "table walpost.inbox, column event_id", `wanted text collate "C"`},
		{`alter table walpost.inbox alter column source drop default`, "table walpost.inbox, column source", "default none"},
		{`alter table walpost.dead_letters drop constraint dead_letters_slot_position_key`, "table walpost.dead_letters", "unique key (slot, position)"},
		{`alter table walpost.relay_state drop column producer_ids`, "table walpost.relay_state, column producer_ids", "nothing"},
		{`alter table walpost.relay_state drop column updated_at`, "table walpost.relay_state, column updated_at", "nothing"},
		{`alter table walpost.dead_letters alter column topic type varchar(10)`, "table walpost.dead_letters, column topic", "character varying(10)"},
		{`alter table walpost.dead_letters alter column reason drop not null`, "table walpost.dead_letters, column reason", "nulls allowed"},
		{`alter table walpost.dead_letters alter column attempts drop default`, "table walpost.dead_letters, column attempts", "default none"},
		{`alter table walpost.dead_letters alter column id drop identity`, "table walpost.dead_letters, column id", "identity"},
		{`alter table walpost.inbox alter column received_at set default now()`, "table walpost.inbox, column received_at", "now()"},
		{`drop function walpost.claim(text, text)`, "function walpost.claim(text, text)", "nothing"},
		{`drop function walpost.claim(text, text, text)`, "function walpost.claim(text, text, text)", "nothing"},
		{`drop function walpost.purge_inbox`, "function walpost.purge_inbox(interval)", "nothing"},
		{`create or replace function walpost.claim(consumer text, event_id text, source text) returns boolean language sql as 'select true'`,
			"function walpost.claim(text, text, text)", "another body"},
		{`drop function walpost.publish`, "function walpost.publish(text, text, text, jsonb, jsonb)", "nothing"},
		{`create or replace function walpost.claim(consumer text, event_id text) returns boolean language sql as 'select true'`,
			"function walpost.claim(text, text)", "another body"},
		{`alter function walpost.claim(text, text) security definer`, "function walpost.claim(text, text)", "security definer"},
		{`create or replace function walpost.schema_version() returns integer language sql as 'select 1 + 1'`, "walpost.schema_version()", "another body"},
		{`create or replace function walpost.schema_version() returns integer language sql as 'select 0'`, "schema walpost", "version 2"},
		{`drop publication walpost`, "publication walpost", "nothing"},
		{`alter publication walpost drop table walpost.outbox`, "publication walpost", "no table walpost.outbox"},
		{`alter publication walpost set (publish = 'insert, delete')`, "publication walpost", "'delete, insert'"},
		{`alter publication walpost set (publish = 'update')`, "publication walpost", "'update'"},
		{`revoke insert on walpost.outbox from APP`, "role app", "INSERT on table walpost.outbox"},
		{`revoke usage on schema walpost from APP`, "role app", "USAGE on schema walpost"},
		{`revoke execute on function walpost.publish from APP`, "role app", "EXECUTE on function walpost.publish"},
		{`revoke insert on walpost.inbox from APP`, "role app", "INSERT on table walpost.inbox"},
		{`revoke select on walpost.outbox from RELAY`, "role relay", "SELECT on table walpost.outbox"},
		{`revoke update on walpost.relay_state from RELAY`, "role relay", "UPDATE on table walpost.relay_state"},
		{`create table walpost.child () inherits (walpost.outbox)`, "table walpost.outbox, child walpost.child", "an inheritance child"},
		{`alter role RELAY noreplication`, "role relay", "no replication"},
		{`alter role RELAY nologin`, "role relay", "no login"},
		{`revoke connect on database DATABASE from public, RELAY`, "role relay", "no right to connect"},
	}
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		o := withRoles(t, db, conn)
		mustApply(t, conn, o)
		names := strings.NewReplacer("APP", schema.QuoteIdent(o.AppRole), "RELAY", schema.QuoteIdent(o.RelayRole), "DATABASE", schema.QuoteIdent(db.Name))
		for _, d := range damages {
			execSQL(t, conn, names.Replace(d.sql))
			list, err := Check(deadline(t), conn, o)
			if err != nil {
				t.Fatalf("%s: %v", d.sql, err)
			}
			if len(list) == 0 || !strings.Contains(list[0].Object, d.object) || !strings.Contains(list[0].String(), d.says) {
				t.Errorf("%s: found %v, want %s with %q first", d.sql, list, d.object, d.says)
			}
			cureAll(t, conn, o, list)
			for range 2 { // the DROP may also have removed grants, or the table from the publication
				if list, err = Check(deadline(t), conn, o); err != nil {
					t.Fatal(err)
				}
				cureAll(t, conn, o, list)
			}
			if list, err = Check(deadline(t), conn, o); err != nil || len(list) > 0 {
				t.Fatalf("%s: after the cures: %v, %v", d.sql, list, err)
			}
		}
	})
}

// cureAll runs the cures of the differences.
func cureAll(t *testing.T, conn *pgx.Conn, o schema.Options, list []schema.Difference) {
	t.Helper()
	for _, d := range list {
		cure, _, _ := strings.Cut(d.Cure, ", unless")
		if cure == "walpost schema apply" {
			mustApply(t, conn, o)
		} else if _, err := conn.Exec(deadline(t), cure); err != nil {
			t.Errorf("the cure of %v fails: %v", d, err)
		}
	}
}

// Differences for which a person has to decide.
func TestCheckFindsWhatAPersonMustDecide(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.New(t))
	list, err := Check(deadline(t), conn, schema.Options{})
	if err != nil || len(list) != 1 || list[0].Object != "schema walpost" || list[0].Cure != "walpost schema apply" {
		t.Errorf("an empty database: %v, %v", list, err)
	}
	// The missing schema does not hide differences in objects that exist.
	execSQL(t, conn, `create table early (id uuid, aggregatetype text, aggregateid text, type int, payload text);
		create publication walpost for table early`)
	list, err = Check(deadline(t), conn, schema.Options{Table: schema.Table{Schema: "public", Name: "early"}, RelayRole: "nobody knows"})
	var all []string
	for _, d := range list {
		all = append(all, d.String())
	}
	for i, want := range []string{
		"schema walpost: found nothing, wanted version 2; cure: walpost schema apply --table public.early",
		"table public.early, column type: found integer",
		"publication walpost: found publish = 'delete, insert, truncate, update'",
		"role nobody knows: found nothing",
	} {
		if len(all) != 4 || !strings.HasPrefix(all[i], want) {
			t.Errorf("before anything was applied: %q, %v, want %q at %d", all, err, want, i)
		}
	}
	execSQL(t, conn, "drop publication walpost; drop table early")
	mustApply(t, conn, schema.Options{})

	list, err = Check(deadline(t), conn, schema.Options{AppRole: "nobody knows"})
	if err != nil || len(list) != 1 || list[0].Object != "role nobody knows" {
		t.Errorf("an unknown role: %v, %v", list, err)
	}

	execSQL(t, conn, `create table events (id uuid, aggregatetype text, aggregate_id text, type int, payload text generated always as ('x') stored);
		create view seen as select * from events`)
	list, err = Check(deadline(t), conn, schema.Options{Table: schema.Table{Schema: "public", Name: "events"}})
	for _, want := range []string{
		"table public.events, column aggregateid: found nothing, wanted text, uuid, integer or bytea; cure: name another by outbox.columns.aggregateid, perhaps aggregate_id",
		"table public.events, column type: found integer, wanted text; cure: name another by outbox.columns.type",
		"table public.events, column payload: found text and generated, which the stream does not carry, wanted jsonb, json, text or bytea",
		"publication walpost: found no table public.events, wanted the outbox; cure: alter publication walpost add table public.events",
	} {
		found := false
		for _, d := range list {
			found = found || strings.HasPrefix(d.String(), want)
		}
		if err != nil || !found {
			t.Errorf("no %q in %v, %v", want, list, err)
		}
	}
	list, err = Check(deadline(t), conn, schema.Options{Table: schema.Table{Schema: "public", Name: "seen"}})
	if err != nil || !contains(list, "table public.seen") {
		t.Errorf("a view: %v, %v", list, err)
	}
	// publish() is left from another outbox
	renamed := schema.DefaultMapping()
	renamed.Names[schema.Type] = "aggregatetype"
	list, err = Check(deadline(t), conn, schema.Options{Mapping: renamed})
	if err != nil || len(list) != 1 || !contains(list, "function walpost.publish") {
		t.Errorf("renamed columns: %v, %v", list, err)
	}
}

func TestCheckFindsWhatAPublicationLeavesOut(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.NewMajor(t, 18))
	mustApply(t, conn, schema.Options{})
	execSQL(t, conn, `alter publication walpost set table walpost.outbox (id, aggregatetype, aggregateid, type, payload) where (aggregatetype <> 'x')`)
	list, err := Check(deadline(t), conn, schema.Options{})
	if err != nil || len(list) != 3 || !strings.HasPrefix(list[0].Found, "the row filter (aggregatetype <> 'x'") ||
		list[1].Found != "a column list without headers" || list[2].Found != "a column list without created_at" {
		t.Errorf("a column list and a row filter: %v, %v", list, err)
	}
}

// TestCheckFindsPartitionsOutsideTheWAL: partitions of any depth, and no other tables.
func TestCheckFindsPartitionsOutsideTheWAL(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		mustApply(t, conn, schema.Options{})
		execSQL(t, conn, `create table box (like walpost.outbox including defaults) partition by list (type);
			create table good partition of box for values in ('placed');
			create table half partition of box default partition by list (aggregatetype);
			create unlogged table leaf partition of half default;
			create publication box for table box with (publish = 'insert', publish_via_partition_root = true)`)
		o := schema.Options{Table: schema.Table{Schema: "public", Name: "box"}, Publication: "box"}
		mustApply(t, conn, o)
		list, err := Check(deadline(t), conn, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 || list[0].Object != "table public.box, partition public.leaf" || list[0].Found != "unlogged" {
			t.Fatalf("found %v", list)
		}
		cureAll(t, conn, o, list)
		if list, err := Check(deadline(t), conn, o); err != nil || len(list) > 0 {
			t.Errorf("after the cure: %v, %v", list, err)
		}
	})
}

// Check works for a role that owns nothing.
func TestCheckAsTheRelay(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		o := withRoles(t, db, conn)
		mustApply(t, conn, o)
		clean(t, as(t, db, o.RelayRole), o)
	})
}
