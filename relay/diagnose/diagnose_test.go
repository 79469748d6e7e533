package diagnose

import (
	"context"
	"slices"
	"strings"
	"testing"

	"walpost/internal/catalog"
	"walpost/internal/diagnosis"
	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
	"walpost/schema"
)

// diagnosed runs a diagnosis of a database.
func diagnosed(db *dbtest.Database, cfg postgres.Config) []diagnosis.Finding {
	db.T.Helper()
	return db.Diagnose(func(ctx context.Context) []diagnosis.Finding {
		return Run(ctx, cfg, schema.Template{}, "publish", true)
	})
}

// walsenders is a query for the number of walsenders of the server.
const walsenders = "select count(*)::text from pg_stat_activity where backend_type = 'walsender'"

// TestDiagnoseWarnings: what works but should be different is a warning.
func TestDiagnoseWarnings(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{
		"max_slot_wal_keep_size": "1GB", "max_replication_slots": "1", "max_wal_senders": "2", "max_prepared_transactions": "2",
	}})
	db := dbtest.On(t, server.DSN("postgres"))
	cfg := db.Config()
	// A walsender ends a moment after its connection is closed, and the server has room for only two.
	diagnose := func() []diagnosis.Finding {
		held := db.Ask(walsenders)
		list := diagnosed(db, cfg)
		dbtest.Until(t, "the diagnosis's walsender is gone", func() bool { return db.Ask(walsenders) == held })
		return list
	}
	dbtest.WantHealthy(t, diagnose())
	db.Exec("drop table walpost.inbox")
	cfg.ConnString += " options='-c wal_sender_timeout=0'"
	if strings.Contains(db.DSN, "://") {
		cfg.ConnString = db.DSN + "&options=-c%20wal_sender_timeout%3D0"
	}
	list := diagnose()
	dbtest.WantHealthy(t, list, "replication", "schema")
	dbtest.WantFinding(t, list, "schema", "table walpost.inbox: found nothing", "run: walpost schema apply")
	dbtest.WantFinding(t, list, "replication", "a relay that freezes keeps the slot")
	cfg.ConnString = db.DSN
	if err := catalog.Apply(t.Context(), db.Conn, schema.Options{}); err != nil {
		t.Fatal(err)
	}

	// All slots and walsenders are in use.
	db.Exec("select pg_create_logical_replication_slot('other', 'pgoutput')")
	failed, text := dbtest.FindingsOf(diagnose(), diagnosis.Failed)
	if !slices.Equal(failed, []string{"max_replication_slots"}) || !strings.Contains(text, "ALTER SYSTEM SET max_replication_slots = 6") {
		t.Errorf("no free slot: %q\n%s", failed, text)
	}
	db.Exec("select pg_drop_replication_slot('other')")
	for range 2 {
		w, err := replication.Connect(t.Context(), db.DSN, pgerror.Names{}, db.Logs.Logger())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
	}
	failed, text = dbtest.FindingsOf(diagnose(), diagnosis.Failed)
	if !slices.Equal(failed, []string{"max_wal_senders", "replication"}) || !strings.Contains(text, "ALTER SYSTEM SET max_wal_senders = 7") {
		t.Errorf("no free walsender: %q\n%s", failed, text)
	}
}

// TestDiagnoseRole: the rights that schema print grants are enough, and each missing right is reported.
func TestDiagnoseRole(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	cfg := db.Config()
	role := db.Role("role", "login")
	cfg.ConnString = db.As(role)
	dbtest.WantFailed(t, diagnosed(db, cfg), "ALTER ROLE "+role+" REPLICATION", "walpost schema print --relay-role "+role)
	if err := catalog.Apply(t.Context(), db.Conn, schema.Options{RelayRole: role}); err != nil {
		t.Fatal(err)
	}
	dbtest.WantHealthy(t, diagnosed(db, cfg), "max_slot_wal_keep_size")
	db.Exec("revoke select on walpost.outbox from " + role)
	db.Exec("revoke update on walpost.relay_state from " + role)
	db.Exec("drop publication walpost")
	dbtest.WantFailed(t, diagnosed(db, cfg), "GRANT SELECT ON walpost.outbox TO "+role, "grant update on table walpost.relay_state to "+role,
		"run as the owner of walpost.outbox: create publication walpost for table walpost.outbox")
}

// TestDiagnoseDeadLetters: parked events are a warning, with how many there are, why, since when, and the commands that end the wait.
func TestDiagnoseDeadLetters(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	cfg := db.Config()
	const check, limit = "dead letters", "max_slot_wal_keep_size"
	dbtest.WantFinding(t, diagnosed(db, cfg), check, "ok: nothing is parked")
	db.Exec(`insert into walpost.dead_letters (slot, position, topic, reason, detail, state, parked_at) values ($1, '00000001-0000000000000010-00000000', 'gone', 'topic_blocked', 'topic_missing: no', 'waiting', '2026-05-04 03:02:01Z')`, db.Slot)
	dbtest.WantFinding(t, diagnosed(db, cfg), check, "warning: 1 event of topic gone parked since 2026-05-04T03:02:01Z, because it takes no records: topic_missing: no",
		"make the topic take records", "walpost dead-letter discard --topic gone --reason topic_blocked --note TEXT")
	dbtest.WantFinding(t, Run(t.Context(), cfg, schema.Template{}, "publish", false), check, "failed: 1 event of topic gone", "does not begin while events are parked")
	db.Exec("delete from walpost.dead_letters")
	db.Exec(`insert into walpost.dead_letters (slot, position, topic, key, reason, state, parked_at)
		select case i when 9 then 'other' else $1 end, '00000001-0000000000000010-0000000' || i, 't', case i when 1 then null else convert_to('key ' || i / 2, 'UTF8') end,
		  (string_to_array('message_too_large,key_parked,key_parked,key_parked,message_too_large,b,c,"Ü,other', ','))[i], case i when 8 then 'released' else 'head' end,
		  timestamptz '2026-05-04 03:02:01Z' + i * interval '1 h' from generate_series(1, 9) i`, db.Slot)
	list := diagnosed(db, cfg)
	dbtest.WantHealthy(t, list, check, limit)
	dbtest.WantFinding(t, list, check, "warning: 7 events of 3 keys are parked, the oldest since 2026-05-04T04:02:01Z; by reason: key_parked 3, message_too_large 2, b 1, others 1; ",
		"run: walpost dead-letter list --group; after you removed the cause, walpost dead-letter retry --reason message_too_large; or give events up with walpost dead-letter discard ID --note TEXT")
	db.Exec("update walpost.dead_letters set state = 'retrying' where reason = 'key_parked'")
	dbtest.WantFinding(t, diagnosed(db, cfg), check, "; 3 of them are given back, and a relay that runs publishes them")
	db.Exec("update walpost.dead_letters set state = 'retrying' where slot = $1", db.Slot)
	dbtest.WantFinding(t, diagnosed(db, cfg), check, "; all are given back; run: walpost run, which publishes them")
	for _, c := range []struct {
		slot *postgres.Slot
		park bool
		cure string
	}{
		{nil, true, "run: walpost run, which publishes them"},
		{&postgres.Slot{}, true, "run: walpost run, which publishes them"},
		{&postgres.Slot{Active: true}, true, "wait: a relay streams from slot " + db.Slot + " and publishes them; if they stay parked, see walpost status and the relay's log"},
		{&postgres.Slot{Active: true}, false, "set outbox.on_bad_event: park; then run: walpost run, which publishes them"},
	} {
		d := &diagnosing{Source: postgres.NewSource(cfg), park: c.park, found: postgres.Found{Slot: c.slot}}
		if d.deadLetters(t.Context(), &postgres.DB{Conn: db.Conn}); len(d.list.Findings) != 1 || d.list.Findings[0].Cure != c.cure {
			t.Errorf("slot %+v, park %v: %+v, want the cure %q", c.slot, c.park, d.list.Findings, c.cure)
		}
	}
	halts := Run(t.Context(), cfg, schema.Template{}, "publish", false)
	dbtest.WantFinding(t, halts, check, "failed: ", "; with outbox.on_bad_event: halt walpost run does not begin while events are parked", "set outbox.on_bad_event: park; then run: walpost run")
	db.Exec("update walpost.dead_letters set state = 'head', reason = E'\\x1b\\n' where slot = $1", db.Slot)
	dbtest.WantFinding(t, diagnosed(db, cfg), check, `by reason: "\x1b\n" 8;`, "retry --reason CODE;")
	db.Exec("alter table walpost.dead_letters drop constraint dead_letters_state_check")
	db.Exec("update walpost.dead_letters set state = 'gone' where slot = $1", db.Slot)
	dbtest.WantFinding(t, diagnosed(db, cfg), check, "warning: 8 events in walpost.dead_letters have a state that does not exist", "run: ALTER TABLE walpost.dead_letters ADD CHECK (state IN (", "ok: nothing is parked")
	role := db.Role("relay", "login")
	if err := catalog.Apply(t.Context(), db.Conn, schema.Options{RelayRole: role}); err != nil {
		t.Fatal(err)
	}
	db.Exec("revoke all on walpost.dead_letters from " + role)
	cfg.ConnString = db.As(role)
	dbtest.WantFailed(t, diagnosed(db, cfg), "run: GRANT SELECT, INSERT, UPDATE, DELETE ON walpost.dead_letters, walpost.relay_state TO "+role, "grant insert on table walpost.dead_letters to "+role)
	dbtest.WantHealthy(t, Run(t.Context(), cfg, schema.Template{}, "publish", false), "schema", "schema", "schema", "schema", check, limit)
	cfg.ConnString = db.DSN
	db.Exec("alter table walpost.dead_letters drop column header_names")
	dbtest.WantFailed(t, diagnosed(db, cfg), "table walpost.dead_letters, column header_names: found nothing", "run: alter table walpost.dead_letters add column header_names")
}
