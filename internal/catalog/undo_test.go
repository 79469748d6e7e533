package catalog

import (
	"os"
	"strings"
	"testing"

	"walpost/internal/pgtest"
	"walpost/schema"
)

// undoing returns the SQL under "To undo all this" in the README.
func undoing(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "### To undo all this")
	_, rest, sql := strings.Cut(rest, "<<'SQL'\n")
	block, _, end := strings.Cut(rest, "\nSQL\n")
	if !found || !sql || !end {
		t.Fatal("the README does not say how to undo it")
	}
	return block
}

// TestUndo: the SQL in the README removes everything of walpost. The service's own role and tables stay.
func TestUndo(t *testing.T) {
	t.Parallel()
	onEachMajor(t, func(t *testing.T, db *pgtest.DB) {
		conn := connect(t, db)
		app, relay := "app "+db.Name, "relay "+db.Name
		o := schema.Options{AppRole: app, RelayRole: relay, Publication: "p " + db.Name, Database: db.Name}
		execSQL(t, conn, "create role "+schema.QuoteIdent(app)+"; create role "+schema.QuoteIdent(relay)+" login; create table mine (id int)")
		t.Cleanup(func() { execSQL(t, connect(t, db), "drop role if exists "+schema.QuoteIdent(app)) })
		mustApply(t, conn, o)
		sql := undoing(t)
		for name, own := range map[string]string{
			"PUBLICATION IF EXISTS walpost;": "PUBLICATION IF EXISTS " + schema.QuoteIdent(o.Publication) + ";",
			"GRANT walpost TO":               "GRANT " + schema.QuoteIdent(relay) + " TO",
			"OWNED BY walpost;":              "OWNED BY " + schema.QuoteIdent(relay) + ";",
			"ROLE walpost;":                  "ROLE " + schema.QuoteIdent(relay) + ";",
		} {
			if !strings.Contains(sql, name) {
				t.Fatalf("no %s in\n%s", name, sql)
			}
			sql = strings.ReplaceAll(sql, name, own)
		}
		for statement := range strings.SplitSeq(sql, ";\n") {
			execSQL(t, conn, statement)
		}
		left := queryOne[string](t, conn, `select coalesce(string_agg(o, ', '), '') from (
			select 'publication ' || pubname from pg_publication union all
			select 'schema walpost' from pg_namespace where nspname = 'walpost' union all select 'role ' || rolname from pg_roles where rolname = $1) objects (o)`, relay)
		if left != "" {
			t.Errorf("left: %s", left)
		}
		execSQL(t, conn, "drop owned by "+schema.QuoteIdent(app)+"; insert into mine values (1)")
	})
}
