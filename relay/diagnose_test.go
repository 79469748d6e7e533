package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walpost/internal/catalog"
	"walpost/internal/diagnosis"
	"walpost/internal/pgtest"
	"walpost/relay/diagnose"
	"walpost/relay/pgerror"
	"walpost/relay/replication"
	"walpost/relay/slotadmin"
	"walpost/schema"
)

// diagnose diagnoses as f's relay would run, and fails the test if that leaves a trace.
func (f *fixture) diagnose() []diagnosis.Finding {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	const traces = `select jsonb_build_object('slots', (select jsonb_agg(slot_name) from pg_replication_slots where database = current_database()),
		'publications', (select jsonb_agg(pubname) from pg_publication),
		'objects', (select count(*) from pg_class) + (select count(*) from pg_proc))::text`
	before := f.ask(traces)
	list := diagnose.Run(ctx, f.cfg.Config, f.cfg.Backfill)
	if after := f.ask(traces); after != before {
		f.t.Errorf("the diagnosis left traces: before %s, after %s", before, after)
	}
	for _, one := range list {
		if one.Target != "postgres" || (one.Level == diagnosis.OK) != (one.Cure == "") || strings.Contains(one.Found+one.Cure, "\n") || one.Found == "" {
			f.t.Errorf("finding %+v", one)
		}
	}
	return list
}

func (f *fixture) ask(sql string) (text string) {
	f.t.Helper()
	if err := f.conn.QueryRow(f.t.Context(), sql).Scan(&text); err != nil {
		f.t.Fatal(err)
	}
	return text
}

// at returns the findings of a level as one text, with their checks.
func at(list []diagnosis.Finding, level diagnosis.Level) (checks []string, text string) {
	for _, one := range list {
		if one.Level == level {
			checks = append(checks, one.Check)
			text += one.Found + "; " + one.Cure + "\n"
		}
	}
	return checks, text
}

// diagnosed expects that what ended the relay is found too.
func (f *fixture) diagnosed(list []diagnosis.Finding, want []string) {
	f.t.Helper()
	_, text := at(list, diagnosis.Failed)
	for _, part := range want {
		if !strings.Contains(text, part) {
			f.t.Errorf("the diagnosis does not say %q:\n%s", part, text)
		}
	}
}

// healthy expects the warnings, and no failure.
func (f *fixture) healthy(list []diagnosis.Finding, warnings ...string) {
	f.t.Helper()
	if failed, text := at(list, diagnosis.Failed); failed != nil {
		f.t.Errorf("failed:\n%s", text)
	}
	if got, text := at(list, diagnosis.Warning); !slices.Equal(got, warnings) {
		f.t.Errorf("warned of %q, want %q:\n%s", got, warnings, text)
	}
}

func (f *fixture) expect(list []diagnosis.Finding, check string, parts ...string) {
	f.t.Helper()
	text := ""
	for _, one := range list {
		if one.Check == check {
			text += fmt.Sprintf("%s: %s; %s\n", one.Level, one.Found, one.Cure)
		}
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			f.t.Errorf("check %s does not say %q:\n%s", check, part, text)
		}
	}
}

// TestDiagnose: a relay's life as a diagnosis sees it: before the first start, beside a running relay, after its end.
func TestDiagnose(t *testing.T) {
	for _, major := range []int{0, 14} {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
			list := f.diagnose()
			f.healthy(list, "max_slot_wal_keep_size")
			f.expect(list, "slot", "ok", "does not exist yet: the first run creates it")
			f.expect(list, "backfill", "publishes them")
			f.exec("drop publication walpost")
			list = f.diagnose()
			f.healthy(list, "max_slot_wal_keep_size")
			f.expect(list, "publication", "does not exist yet: the first run creates it")
			r := f.start()
			list = f.diagnose()
			f.healthy(list, "max_slot_wal_keep_size")
			f.expect(list, "slot", "ok", "application_name walpost", "wal_status reserved")
			f.expect(list, "publication", "publishes every insert into walpost.outbox")
			r.stop()
			f.expect(f.diagnose(), "slot", "ok", "nobody streams from it")
			f.exec("select pg_drop_replication_slot($1)", f.cfg.Slot)
			f.diagnosed(f.diagnose(), []string{"does not exist, but walpost has streamed from it", "DELETE FROM walpost.relay_state"})
		})
	}
}

// TestDiagnoseWarnings: what works and is not as it should be.
func TestDiagnoseWarnings(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{
		"max_slot_wal_keep_size": "1GB", "max_replication_slots": "1", "max_wal_senders": "2", "max_prepared_transactions": "2",
	}})
	f := fixtureOn(t, server.DSN("postgres"))
	f.healthy(f.diagnose())
	f.exec("drop table walpost.inbox")
	f.cfg.ConnString += " options='-c wal_sender_timeout=0'"
	if strings.Contains(f.dsn, "://") {
		f.cfg.ConnString = f.dsn + "&options=-c%20wal_sender_timeout%3D0"
	}
	list := f.diagnose()
	f.healthy(list, "replication", "schema")
	f.expect(list, "schema", "table walpost.inbox: found nothing", "run: walpost schema apply")
	f.expect(list, "replication", "a relay that freezes keeps the slot")
	f.cfg.ConnString = f.dsn
	if err := catalog.Apply(t.Context(), f.conn, schema.Options{}); err != nil {
		t.Fatal(err)
	}

	// All that there is room for is taken.
	f.exec("select pg_create_logical_replication_slot('other', 'pgoutput')")
	other := f.cfg.Config
	other.Slot = "other"
	if s, err := slotadmin.Show(t.Context(), other); err != nil || s.SafeWALSize == nil || *s.SafeWALSize < 512<<20 {
		t.Errorf("with a limit: %+v, %v", s, err)
	}
	failed, text := at(f.diagnose(), diagnosis.Failed)
	if !slices.Equal(failed, []string{"max_replication_slots"}) || !strings.Contains(text, "ALTER SYSTEM SET max_replication_slots = 6") {
		t.Errorf("no free slot: %q\n%s", failed, text)
	}
	f.exec("select pg_drop_replication_slot('other')")
	for range 2 {
		w, err := replication.Connect(t.Context(), f.dsn, pgerror.Names{}, f.logger())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
	}
	failed, text = at(f.diagnose(), diagnosis.Failed)
	if !slices.Equal(failed, []string{"max_wal_senders", "replication"}) || !strings.Contains(text, "ALTER SYSTEM SET max_wal_senders = 7") {
		t.Errorf("no free walsender: %q\n%s", failed, text)
	}
}

// TestDiagnoseRole: the rights that schema print grants are enough, and each that is missing is asked for.
func TestDiagnoseRole(t *testing.T) {
	f := newFixture(t)
	role := f.cfg.Slot + "_role"
	f.exec("create role " + role + " login")
	f.t.Cleanup(func() { // the test's own context is done by then
		f.conn.Exec(context.Background(), "drop owned by "+role)
		f.conn.Exec(context.Background(), "drop role "+role)
	})
	f.cfg.ConnString = strings.Replace(f.dsn, "postgres@", role+"@", 1)
	f.diagnosed(f.diagnose(), []string{"ALTER ROLE " + role + " REPLICATION", "walpost schema print --relay-role " + role})
	if err := catalog.Apply(t.Context(), f.conn, schema.Options{RelayRole: role}); err != nil {
		t.Fatal(err)
	}
	f.healthy(f.diagnose(), "max_slot_wal_keep_size")
	f.exec("revoke select on walpost.outbox from " + role)
	f.exec("revoke update on walpost.relay_state from " + role)
	f.exec("drop publication walpost")
	f.diagnosed(f.diagnose(), []string{"GRANT SELECT ON walpost.outbox TO " + role, "grant update on table walpost.relay_state to " + role,
		"run as the owner of walpost.outbox: create publication walpost for table walpost.outbox"})
}
