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
	return db.Diagnose(func(ctx context.Context) []diagnosis.Finding { return Run(ctx, cfg, schema.Template{}, "publish") })
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
