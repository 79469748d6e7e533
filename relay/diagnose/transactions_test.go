package diagnose

import (
	"strings"
	"testing"

	"walpost/internal/diagnosis"
	"walpost/relay/internal/dbtest"
	"walpost/relay/postgres"
)

// TestDiagnoseTransactions: a transaction that stays open is reported, with the command that ends it, with and without a slot.
func TestDiagnoseTransactions(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	db.Exec("begin")
	db.Insert(1)
	d := &diagnosing{Source: postgres.NewSource(db.Config()), oldAfter: 0}
	asking, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer asking.Close()
	d.transactions(t.Context(), asking)
	// Other tests share the server and may have an older one.
	if got := d.list.Findings[0]; got.Level != diagnosis.Warning || !strings.Contains(got.Found, "the creation of the slot waits for its end") || !strings.Contains(got.Cure, "pg_terminate_backend(") &&
		!strings.Contains(got.Cure, "ROLLBACK PREPARED") {
		t.Errorf("before the slot: %+v", got)
	}
	d.found.Slot = &postgres.Slot{}
	d.transactions(t.Context(), asking)
	if got := d.list.Findings[1]; !strings.Contains(got.Found, "the slot keeps WAL for it") {
		t.Errorf("with a slot: %+v", got)
	}
}
