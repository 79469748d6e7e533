package relay

import (
	"context"
	"fmt"
	"testing"

	"walpost/internal/diagnosis"
	"walpost/internal/pgtest"
	"walpost/relay/diagnose"
	"walpost/relay/internal/dbtest"
	"walpost/schema"
)

// diagnose runs a diagnosis with the configuration of f's relay.
func (f *fixture) diagnose() []diagnosis.Finding {
	f.T.Helper()
	return f.Diagnose(func(ctx context.Context) []diagnosis.Finding {
		return diagnose.Run(ctx, f.cfg.Config, schema.Template{}, f.cfg.Backfill, f.cfg.Park)
	})
}

// TestDiagnose runs a diagnosis before the first start of a relay, while it runs, and after it has ended.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	for _, major := range pgtest.Majors() {
		t.Run(fmt.Sprintf("Postgres %d", major), func(t *testing.T) {
			f := fixtureOn(t, pgtest.NewMajor(t, major).DSN)
			list := f.diagnose()
			dbtest.WantHealthy(t, list, "max_slot_wal_keep_size")
			dbtest.WantFinding(t, list, "slot", "ok", "does not exist yet: the first run creates it")
			dbtest.WantFinding(t, list, "backfill", "publishes them")
			f.Exec("drop publication walpost")
			list = f.diagnose()
			dbtest.WantHealthy(t, list, "max_slot_wal_keep_size")
			dbtest.WantFinding(t, list, "publication", "does not exist yet: the first run creates it")
			r := f.start()
			list = f.diagnose()
			dbtest.WantHealthy(t, list, "max_slot_wal_keep_size")
			dbtest.WantFinding(t, list, "slot", "ok", "application_name walpost", "wal_status reserved")
			dbtest.WantFinding(t, list, "publication", "publishes every insert into walpost.outbox")
			r.stop()
			dbtest.WantFinding(t, f.diagnose(), "slot", "ok", "nobody streams from it")
			f.Exec("select pg_drop_replication_slot($1)", f.cfg.Slot)
			dbtest.WantFailed(t, f.diagnose(), "does not exist, but walpost has streamed from it", "DELETE FROM walpost.relay_state")
		})
	}
}
