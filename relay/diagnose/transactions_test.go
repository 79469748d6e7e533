package diagnose

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/diagnosis"
	"walpost/internal/pgtest"
	"walpost/relay/postgres"
)

// TestDiagnoseTransactions: a transaction that stays open is named, with the command that ends it, whether there is a slot or not.
func TestDiagnoseTransactions(t *testing.T) {
	dsn := pgtest.New(t).DSN
	writer, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close(context.Background())
	if _, err := writer.Exec(t.Context(), "create table written (n int); begin; insert into written values (1)"); err != nil {
		t.Fatal(err)
	}
	d := &diagnosing{Source: postgres.NewSource(postgres.Config{ConnString: dsn}), patience: 0}
	db, err := postgres.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	d.transactions(t.Context(), db)
	// Other tests share the server and may have an older one.
	if got := d.list.Findings[0]; got.Level != diagnosis.Warning || !strings.Contains(got.Found, "the slot's creation waits for its end") || !strings.Contains(got.Cure, "pg_terminate_backend(") &&
		!strings.Contains(got.Cure, "ROLLBACK PREPARED") {
		t.Errorf("before the slot: %+v", got)
	}
	d.found.Slot = &postgres.Slot{}
	d.transactions(t.Context(), db)
	if got := d.list.Findings[1]; !strings.Contains(got.Found, "the slot keeps WAL for it") {
		t.Errorf("with a slot: %+v", got)
	}
}
