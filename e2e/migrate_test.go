package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"walpost/internal/catalog"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/fetch"
	"walpost/internal/testenv/need"
	"walpost/schema"
)

// migration runs files in order, in one session, as a migration tool does. The
// first done files are recorded as run already. It returns the tool's output.
type migration func(t *testing.T, dsn string, files []string, done int) (string, error)

func TestPsqlRunsThePrintedSQL(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if err != nil {
		need.Met(t, &need.Lack{What: "psql", Ways: []string{"install it (apt-get install postgresql-client, brew install libpq)"}})
	}
	for name, flags := range map[string][]string{"one by one": nil, "in one transaction": {"-1"}} {
		t.Run(name, func(t *testing.T) {
			testMigration(t, func(t *testing.T, dsn string, files []string, done int) (string, error) {
				args := append([]string{"-X", "-v", "ON_ERROR_STOP=1", "-d", dsn}, flags...)
				for _, path := range write(t, files, "%d.sql", "")[done:] {
					args = append(args, "-f", path)
				}
				out, err := exec.CommandContext(t.Context(), psql, args...).CombinedOutput()
				if strings.Contains(string(out), "WARNING") {
					t.Errorf("psql warns:\n%s", out)
				}
				return string(out), err
			})
		})
	}
}

func TestGooseRunsThePrintedSQL(t *testing.T) {
	t.Parallel()
	testMigration(t, func(t *testing.T, dsn string, files []string, _ int) (string, error) {
		db, err := sql.Open("pgx", dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		folder := fstest.MapFS{}
		for i, text := range files {
			folder[fmt.Sprintf("%05d_walpost.sql", i+1)] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
		}
		provider, err := goose.NewProvider(goose.DialectPostgres, db, folder)
		if err != nil {
			t.Fatal(err)
		}
		_, err = provider.Up(t.Context())
		return fmt.Sprint(err), err
	})
}

func TestFlywayRunsThePrintedSQL(t *testing.T) {
	t.Parallel()
	const version, jackson = "11.20.3", "2.19.1"
	jars := jars(t, "flyway-"+version+"-jackson-"+jackson, func(ctx context.Context, dir string) error {
		// Its own dependencies are drivers for many databases.
		if _, err := fetch.Jar(ctx, dir, fetch.Artifact{Group: "org.flywaydb", Name: "flyway-commandline", Version: version}); err != nil {
			return err
		}
		return fetch.Jars(ctx, dir, driver,
			fetch.Artifact{Group: "org.flywaydb", Name: "flyway-database-postgresql", Version: version},
			fetch.Artifact{Group: "com.fasterxml.jackson.dataformat", Name: "jackson-dataformat-toml", Version: jackson},
			fetch.Artifact{Group: "com.fasterxml.jackson.datatype", Name: "jackson-datatype-jsr310", Version: jackson})
	})
	testMigration(t, func(t *testing.T, dsn string, files []string, _ int) (string, error) {
		db := parse(t, dsn)
		folder := filepath.Dir(write(t, files, "V%d__walpost.sql", "")[0])
		// With the jars that it has here, only its JSON shows the result.
		out, err := java(t, jars, "org.flywaydb.commandline.Main", "-url="+jdbc(db), "-user="+db.User, "-password="+db.Password,
			"-locations=filesystem:"+folder, "-skipCheckForUpdate", "-outputType=json", "migrate")
		if err == nil && !strings.Contains(out, `"success" : true`) {
			err = errors.New("flyway: no success")
		}
		return strings.ReplaceAll(out, `\"`, `"`), err
	})
}

func TestLiquibaseRunsThePrintedSQL(t *testing.T) {
	t.Parallel()
	const version, picocli = "4.33.0", "4.7.7"
	jars := jars(t, "liquibase-"+version, func(ctx context.Context, dir string) error {
		return fetch.Jars(ctx, dir, driver,
			fetch.Artifact{Group: "org.liquibase", Name: "liquibase-core", Version: version},
			fetch.Artifact{Group: "info.picocli", Name: "picocli", Version: picocli})
	})
	run := func(t *testing.T, dsn, changelog string) (string, error) {
		db := parse(t, dsn)
		return java(t, jars, "liquibase.integration.commandline.LiquibaseCommandLine", "--url="+jdbc(db), "--username="+db.User, "--password="+db.Password,
			"--search-path="+filepath.Dir(changelog), "--changelog-file="+filepath.Base(changelog), "--analytics-enabled=false", "update")
	}
	// A changelog of SQL files, in both forms that it may have.
	for name, form := range map[string]struct{ head, entry string }{
		"formatted SQL": {"--liquibase formatted sql\n\n--changeset shop:%d\n", `<include file="%s" relativeToChangelogFile="true"/>`},
		"sqlFile":       {"", `<changeSet id="%[1]s" author="shop"><sqlFile path="%[1]s"/></changeSet>`},
	} {
		t.Run(name, func(t *testing.T) {
			testMigration(t, func(t *testing.T, dsn string, files []string, _ int) (string, error) {
				var entries strings.Builder
				paths := write(t, files, "%d.sql", form.head)
				for _, path := range paths {
					fmt.Fprintf(&entries, form.entry+"\n", filepath.Base(path))
				}
				changelog := filepath.Join(filepath.Dir(paths[0]), "changelog.xml")
				const xml = `<databaseChangeLog xmlns="http://www.liquibase.org/xml/ns/dbchangelog" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
	xsi:schemaLocation="http://www.liquibase.org/xml/ns/dbchangelog http://www.liquibase.org/xml/ns/dbchangelog/dbchangelog-latest.xsd">
%s</databaseChangeLog>`
				if err := os.WriteFile(changelog, fmt.Appendf(nil, xml, &entries), 0o644); err != nil {
					t.Fatal(err)
				}
				return run(t, dsn, changelog)
			})
		})
	}
}

// testMigration migrates a database from version 1 of the schema to the present
// version with the printed SQL, and then runs the migration again. An inbox with
// rows fails with the statement that a person has to run, and leaves nothing
// half done.
func testMigration(t *testing.T, run migration) {
	db := pgtest.New(t)
	conn, err := pgx.Connect(t.Context(), db.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	o := schema.Options{AppRole: "app_" + db.Name, RelayRole: "relay_" + db.Name}
	for _, role := range []string{o.AppRole, o.RelayRole} {
		execOn(t, conn, "CREATE ROLE "+role+" LOGIN")
		defer execOn(t, conn, "DROP OWNED BY "+role, "DROP ROLE "+role)
	}
	first, err := os.ReadFile("../internal/catalog/testdata/version1.sql")
	if err != nil {
		t.Fatal(err)
	}
	files := []string{string(first), schema.Script(o), schema.Script(o), schema.ChecksScript(o), schema.ChecksScript(o),
		"CREATE TABLE public.session AS SELECT current_setting('lock_timeout') AS lock_timeout;\n"}

	if out, err := run(t, db.DSN, files[:1], 0); err != nil {
		t.Fatalf("version 1: %v\n%s", err, out)
	}
	execOn(t, conn, "SELECT walpost.claim('stock', 'e1')")
	out, err := run(t, db.DSN, files, 1)
	if err == nil || !strings.Contains(strings.Join(strings.Fields(out), " "), schema.InboxUpgrade) {
		t.Errorf("an inbox with rows: %v, want the statement in the output\n%s", err, out)
	}
	if version, err := catalog.Version(t.Context(), conn); err != nil || version != 1 {
		t.Errorf("after the refusal, the schema is version %d, %v", version, err)
	}
	execOn(t, conn, schema.InboxUpgrade)
	if out, err := run(t, db.DSN, files, 1); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	list, err := catalog.Check(t.Context(), conn, o)
	if err != nil || len(list) > 0 {
		t.Errorf("after it: %v, %v", list, err)
	}
	if limit := ask[string](t, conn, "SELECT lock_timeout FROM public.session"); limit != "0" {
		t.Errorf("lock_timeout is %s in the session afterwards", limit)
	}
	if ask[bool](t, conn, "SELECT walpost.claim('stock', 'e1')") {
		t.Error("a claim of version 1 no longer counts")
	}
}

// write writes each text to a file in a new folder, after the line head. The
// file's number is inserted into head and into the file's name.
func write(t *testing.T, texts []string, name, head string) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i, text := range texts {
		path := filepath.Join(dir, fmt.Sprintf(name, i+1))
		if head != "" {
			text = fmt.Sprintf(head, i+1) + text
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// driver is Postgres's JDBC driver.
var driver = fetch.Artifact{Group: "org.postgresql", Name: "postgresql", Version: "42.7.8"}

// jars returns the folder with a tool's jars.
func jars(t *testing.T, name string, fill func(ctx context.Context, dir string) error) string {
	t.Helper()
	dir, err := fetch.Folder(t.Context(), name, fill)
	if err != nil {
		err = &need.Lack{What: name, Tried: []string{"Maven: " + err.Error()}, Ways: []string{"install Java and Maven: then it is fetched into a cache"}}
	}
	need.Met(t, err)
	return dir
}

// java runs a class of the jars and returns its output. It turns off the tools'
// usage reports to their vendors.
func java(t *testing.T, jars, class string, args ...string) (string, error) {
	t.Helper()
	program := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		program = filepath.Join(home, "bin", "java")
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-Xmx256m", "-cp", filepath.Join(jars, "*"), class}, args...)...)
	cmd.Env = append(os.Environ(), "REDGATE_DISABLE_TELEMETRY=true", "LIQUIBASE_ANALYTICS_ENABLED=false")
	cmd.Dir = t.TempDir() // where Flyway looks for a configuration
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func parse(t *testing.T, dsn string) *pgx.ConnConfig {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// jdbc returns the database's URL for Java.
func jdbc(c *pgx.ConnConfig) string {
	u := url.URL{Scheme: "postgresql", Host: fmt.Sprintf("%s:%d", c.Host, c.Port), Path: c.Database}
	return "jdbc:" + u.String()
}
