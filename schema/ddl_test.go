package schema

import (
	"regexp"
	"strings"
	"testing"
)

var everyOption = Options{AppRole: "app", RelayRole: "relay", Database: "shop"}

// Migration tools split at semicolons, replace text that looks like a variable, and count quotes, even in comments.
func TestScriptSurvivesMigrationTools(t *testing.T) {
	survives(t, Script(everyOption), Statements(everyOption), "-- walpost: database schema, version 2.")
	consumer := Options{AppRole: "stock", OnlyInbox: true}
	survives(t, Script(consumer), Statements(consumer), "-- walpost: inbox for the database of a consumer, version 2.")
	survives(t, ChecksScript(everyOption), everyOption.WithDefaults().checkStatements(), "-- walpost: constraints for an existing outbox, version 2.")
}

func survives(t *testing.T, script string, statements []Statement, head string) {
	t.Helper()
	if n := strings.Count(script, ";"); n != len(statements) {
		t.Errorf("%d semicolons for %d statements", n, len(statements))
	}
	if n := strings.Count(script, ";\n"); n != len(statements) {
		t.Errorf("%d lines end in a semicolon for %d statements", n, len(statements))
	}
	for name, pattern := range map[string]string{
		"a placeholder of JDBC":            `\?`,
		"a placeholder of Python":          `%`,
		"a variable of Flyway or goose":    `\$\{|\$[A-Za-z]`,
		"a named parameter":                `(^|[^:]):[A-Za-z]`,
		"a cast that looks like one":       `::`,
		"a command of psql":                `(?m)^\s*\\`,
		"a batch separator":                `(?mi)^\s*(go|/)\s*$`,
		"a comment with a quote":           `(?m)--.*['"` + "`" + `$]`,
		"a comment that is a goose marker": `\+goose`,
		"a token that was not replaced":    `\{[a-z]`,
		"a block comment":                  `/\*`,
		"a tab":                            "\t",
	} {
		if found := regexp.MustCompile(pattern).FindString(script); found != "" {
			t.Errorf("the script has %s: %q", name, found)
		}
	}
	for _, s := range statements {
		if strings.Contains(s.SQL, ";") || strings.Count(s.SQL, "'")%2 != 0 || strings.Count(s.SQL, "$$")%2 != 0 {
			t.Errorf("%s: a semicolon, or quotes without a pair:\n%s", s.Object, s.SQL)
		}
	}
	if !strings.HasPrefix(script, head) {
		t.Errorf("the script does not begin with its version: %.60q", script)
	}
}

func TestStatementsFollowTheOptions(t *testing.T) {
	renamed := DefaultMapping()
	renamed.Names[Type] = "event type"
	renamed.Names[Timestamp], renamed.Names[Topic], renamed.Names[Headers] = "created_at", "topic", ""
	for _, c := range []struct {
		name    string
		options Options
		has     []string
		hasNot  []string
	}{
		{"defaults", Options{}, []string{"table if not exists walpost.outbox", "create publication walpost for", "insert into walpost.outbox"},
			[]string{"\ngrant ", "alter role"}},
		{"another table", Options{Table: Table{"shop", "Events"}, Publication: "My Pub", AppRole: "My App"}, []string{
			`table if not exists shop."Events" (`, `create publication "My Pub" for table shop."Events"`, "pubname = 'My Pub'",
			`insert into shop."Events"`, `usage on schema walpost, shop to "My App"`, "tablename = 'Events'"},
			[]string{"walpost.outbox", "alter role"}},
		{"renamed columns", Options{Mapping: renamed, AppRole: "app"}, []string{`"event type"  text not null`, "topic         text",
			"drop function if exists walpost.publish", "execute on function walpost.claim(text, text), walpost.claim(text, text, text) to app"},
			[]string{"insert into walpost.outbox", "  timestamp ", "  headers "}},
		{"a relay in a known database", Options{RelayRole: "r", Database: "d-b"},
			[]string{`connect on database "d-b" to r`, "alter role r replication", "grant rds_replication to r"}, []string{"to app"}},
		{"only the inbox", Options{OnlyInbox: true, AppRole: "stock", RelayRole: "r", Database: "d", Table: Table{"shop", "events"}}, []string{
			"create schema if not exists walpost", "table if not exists walpost.inbox", "usage on schema walpost to stock",
			"execute on function walpost.claim(text, text), walpost.claim(text, text, text) to stock", "insert on table walpost.inbox to stock"},
			[]string{"walpost.outbox", "publication", "relay", "dead_letters", "schema_version", " to r;", "shop"}},
		{"a relay in an unknown database", Options{RelayRole: "r"}, []string{"alter role r replication"}, []string{"on database"}},
	} {
		script := Script(c.options)
		for _, text := range c.has {
			if !strings.Contains(script, text) {
				t.Errorf("%s: no %q", c.name, text)
			}
		}
		for _, text := range c.hasNot {
			if strings.Contains(script, text) {
				t.Errorf("%s: %q", c.name, text)
			}
		}
	}
}

// The expressions that publish() inserts, for the types of the table's columns.
func TestPublishConverts(t *testing.T) {
	columns := func(types ...TableColumn) []TableColumn {
		cols := outboxColumns()
		for _, typ := range types {
			for i := range cols {
				if cols[i].Name == typ.Name {
					cols[i] = typ
				}
			}
		}
		return cols
	}
	for _, c := range []struct {
		columns []TableColumn
		values  string
	}{
		{nil, "select event.id, $1, $2, $3, $4, $5 from event\n"},
		{columns(), "select event.id, $1, $2, $3, $4, $5 from event\n"},
		{columns(TableColumn{"id", 1043, "character varying(10)"}), "select cast(event.id as text), $1,"},
		{columns(TableColumn{"aggregateid", 20, "bigint"}), "$1, cast($2 as bigint), $3"},
		{columns(TableColumn{"aggregateid", 17, "bytea"}), "$1, convert_to(cast($2 as text), 'UTF8'), $3"},
		{columns(TableColumn{"type", 16400, "shop.kind"}), "$2, cast($3 as shop.kind), $4"},
		{columns(TableColumn{"payload", 25, "text"}), "$3, cast($4 as text), $5"},
		{columns(TableColumn{"payload", 17, "bytea"}), "$3, convert_to(cast($4 as text), 'UTF8'), $5"},
		{columns(TableColumn{"headers", 114, "json"}), "$4, cast($5 as json) from"},
		{columns()[:5], "select event.id, $1, $2, $3, $4 from event\n    where $5 is null or cast('table walpost.outbox has no column headers'"},
		{columns(TableColumn{"id", 20, "bigint"}), ""},
	} {
		script := Script(Options{Columns: c.columns})
		if c.values == "" && strings.Contains(script, "insert into walpost.outbox") || !strings.Contains(script, c.values) {
			t.Errorf("publish() into %v does not insert %q", c.columns, c.values)
		}
	}
}

// Each statement that waits for the lock of a table gives up after 3 seconds, because everything else that uses the table waits behind it.
// In the scripts such statements are in helper functions, which set the limit.
func TestHelpersGiveUpOnALock(t *testing.T) {
	helper := regexp.MustCompile(`create or replace function walpost\.setup_\w+\(\) returns void language sql volatile( set lock_timeout = '3s')? as (\$\$|\{)`)
	waits := regexp.MustCompile(`^\s*(alter table|alter publication|create publication|create index|create unique index|drop)\b|^\s*\{(create|add)\}`)
	names, err := files.ReadDir("sql")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range names {
		text, err := files.ReadFile("sql/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		all := helper.FindAllSubmatchIndex(text, -1)
		if n := strings.Count(string(text), "create or replace function walpost.setup_"); n != len(all) {
			t.Errorf("%s: %d of %d helper functions have another form", file.Name(), n-len(all), n)
		}
		for _, m := range all {
			limited, body := m[2] >= 0, string(text[m[5]:])
			if i := strings.Index(body, "$$"); i >= 0 {
				body = body[:i]
			}
			upgrade := text[m[4]] == '{' // the body is inserted: it alters the inbox
			if upgrade || waits.MatchString(body) {
				found++
				if !limited {
					t.Errorf("%s: a helper function waits for a lock without a limit: %s", file.Name(), body)
				}
			}
		}
		for _, line := range strings.Split(string(text), "\n") { // outside of helpers, in a statement of its own
			if strings.HasPrefix(line, "alter table") || strings.HasPrefix(line, "create index") {
				t.Errorf("%s: a statement waits for a lock without a limit: %s", file.Name(), line)
			}
		}
	}
	if found < 7 {
		t.Errorf("found %d helper functions", found)
	}
}
