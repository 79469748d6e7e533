package diagnose

import (
	"testing"

	"walpost/internal/diagnosis"
	"walpost/relay/postgres"
	"walpost/schema"
)

// TestWeigh: a difference that stops a relay is a failure. A difference that another check reports is not reported twice.
func TestWeigh(t *testing.T) {
	t.Parallel()
	d := &diagnosing{Source: postgres.NewSource(postgres.Config{Table: schema.DefaultTable})}
	d.Names.Role = "relay"
	for _, c := range []struct {
		one  schema.Difference
		want diagnosis.Level
	}{
		{schema.Difference{Object: "publication walpost", Found: "nothing"}, diagnosis.OK},
		{schema.Difference{Object: "table walpost.outbox", Found: "nothing"}, diagnosis.OK},
		{schema.Difference{Object: "table walpost.outbox, column type", Found: "bytea", Cure: "name another by outbox.columns.type"}, diagnosis.OK},
		{schema.Difference{Object: "table walpost.outbox, column id", Found: "no default", Cure: "alter table"}, diagnosis.Warning},
		{schema.Difference{Object: "table walpost.inbox", Found: "nothing"}, diagnosis.Warning},
		{schema.Difference{Object: "role relay", Found: "no replication"}, diagnosis.OK},
		{schema.Difference{Object: "role relay", Found: "no login"}, diagnosis.OK},
		{schema.Difference{Object: "role relay", Found: "no right to connect"}, diagnosis.OK},
		{schema.Difference{Object: "role relay", Found: "no SELECT on table walpost.outbox"}, diagnosis.OK},
		{schema.Difference{Object: "role relay", Found: "no UPDATE on table walpost.relay_state"}, diagnosis.Failed},
		{schema.Difference{Object: "role relay", Found: "no DELETE on table walpost.relay_state"}, diagnosis.Warning}, // a first start cannot remove its phase, which does no harm
		{schema.Difference{Object: "role relay", Found: "superuser"}, diagnosis.Warning},
		{schema.Difference{Object: "role writer", Found: "no login"}, diagnosis.Warning},
	} {
		if got := d.weigh(c.one); got != c.want {
			t.Errorf("%s, found %s: %s, want %s", c.one.Object, c.one.Found, got, c.want)
		}
	}
	for _, one := range []schema.Difference{ // only a relay that parks needs this
		{Object: "role relay", Found: "no INSERT on table walpost.dead_letters"},
		{Object: "table walpost.dead_letters", Found: "nothing"},
		{Object: "table walpost.dead_letters, column detail", Found: "nothing"},
	} {
		for park, want := range map[bool]diagnosis.Level{true: diagnosis.Failed, false: diagnosis.Warning} {
			if d.park = park; d.weigh(one) != want {
				t.Errorf("%s, found %s: %s, want %s", one.Object, one.Found, d.weigh(one), want)
			}
		}
	}
	if got := d.weigh(schema.Difference{Object: "index walpost.dead_letters_key", Found: "nothing"}); got != diagnosis.Warning {
		t.Errorf("an index: %s", got)
	}
}
