package relay

import (
	"slices"
	"strings"
	"testing"

	"walpost/internal/catalog"
	"walpost/internal/diagnosis"
	"walpost/internal/pgtest"
	"walpost/relay/internal/dbtest"
	"walpost/relay/pgerror"
	"walpost/relay/replication"
	"walpost/relay/slotadmin"
	"walpost/schema"
)

// TestDiagnoseWarnings: what works and is not as it should be.
func TestDiagnoseWarnings(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{
		"max_slot_wal_keep_size": "1GB", "max_replication_slots": "1", "max_wal_senders": "2", "max_prepared_transactions": "2",
	}})
	f := fixtureOn(t, server.DSN("postgres"))
	dbtest.WantHealthy(t, f.diagnose())
	f.Exec("drop table walpost.inbox")
	f.cfg.ConnString += " options='-c wal_sender_timeout=0'"
	if strings.Contains(f.DSN, "://") {
		f.cfg.ConnString = f.DSN + "&options=-c%20wal_sender_timeout%3D0"
	}
	list := f.diagnose()
	dbtest.WantHealthy(t, list, "replication", "schema")
	dbtest.WantFinding(t, list, "schema", "table walpost.inbox: found nothing", "run: walpost schema apply")
	dbtest.WantFinding(t, list, "replication", "a relay that freezes keeps the slot")
	f.cfg.ConnString = f.DSN
	if err := catalog.Apply(t.Context(), f.Conn, schema.Options{}); err != nil {
		t.Fatal(err)
	}

	// All that there is room for is taken.
	f.Exec("select pg_create_logical_replication_slot('other', 'pgoutput')")
	other := f.cfg.Config
	other.Slot = "other"
	if s, err := slotadmin.Show(t.Context(), other); err != nil || s.SafeWALSize == nil || *s.SafeWALSize < 512<<20 {
		t.Errorf("with a limit: %+v, %v", s, err)
	}
	failed, text := dbtest.FindingsOf(f.diagnose(), diagnosis.Failed)
	if !slices.Equal(failed, []string{"max_replication_slots"}) || !strings.Contains(text, "ALTER SYSTEM SET max_replication_slots = 6") {
		t.Errorf("no free slot: %q\n%s", failed, text)
	}
	f.Exec("select pg_drop_replication_slot('other')")
	for range 2 {
		w, err := replication.Connect(t.Context(), f.DSN, pgerror.Names{}, f.Logs.Logger())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
	}
	failed, text = dbtest.FindingsOf(f.diagnose(), diagnosis.Failed)
	if !slices.Equal(failed, []string{"max_wal_senders", "replication"}) || !strings.Contains(text, "ALTER SYSTEM SET max_wal_senders = 7") {
		t.Errorf("no free walsender: %q\n%s", failed, text)
	}
}

// TestDiagnoseRole: the rights that schema print grants are enough, and each that is missing is asked for.
func TestDiagnoseRole(t *testing.T) {
	f := newFixture(t)
	role := f.Role("role", "login")
	f.cfg.ConnString = f.As(role)
	dbtest.WantFailed(t, f.diagnose(), "ALTER ROLE "+role+" REPLICATION", "walpost schema print --relay-role "+role)
	if err := catalog.Apply(t.Context(), f.Conn, schema.Options{RelayRole: role}); err != nil {
		t.Fatal(err)
	}
	dbtest.WantHealthy(t, f.diagnose(), "max_slot_wal_keep_size")
	f.Exec("revoke select on walpost.outbox from " + role)
	f.Exec("revoke update on walpost.relay_state from " + role)
	f.Exec("drop publication walpost")
	dbtest.WantFailed(t, f.diagnose(), "GRANT SELECT ON walpost.outbox TO "+role, "grant update on table walpost.relay_state to "+role,
		"run as the owner of walpost.outbox: create publication walpost for table walpost.outbox")
}
