package slotadmin

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"walpost/internal/catalog"
	"walpost/internal/pgtest"
	"walpost/relay/postgres"
	"walpost/schema"
)

// TestLockIsGivenBack: what a verb kept away may begin as soon as the verb has returned.
func TestLockIsGivenBack(t *testing.T) {
	dsn := pgtest.New(t).DSN
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := catalog.Apply(t.Context(), conn, schema.Options{}); err != nil {
		t.Fatal(err)
	}
	cfg := postgres.Config{ConnString: dsn, Slot: "walpost_never_made", Publication: "walpost", Table: schema.DefaultTable, Mapping: schema.DefaultMapping()}
	for range 100 {
		v := newVerb(cfg)
		if err := v.open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := v.lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		v.close()
	}
}
