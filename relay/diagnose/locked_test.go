package diagnose

import (
	"strings"
	"testing"
	"time"

	"walpost/internal/diagnosis"
	"walpost/relay/internal/dbtest"
	"walpost/schema"
)

// TestDiagnoseLockedTable: while somebody has locked a table, the checks that read it fail soon, with the query that shows who it is. All other
// checks do their work.
func TestDiagnoseLockedTable(t *testing.T) {
	t.Parallel()
	for table, checks := range map[string]string{
		"walpost.dead_letters": "schema, dead letters",
		"walpost.relay_state":  "slot, schema",
		"walpost.outbox":       "table, schema",
	} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			db := dbtest.New(t)
			db.Exec("begin")
			db.Exec("lock table " + table)
			began := time.Now()
			list := Run(t.Context(), db.Config(), schema.Template{}, "publish", true)
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			failed, text := dbtest.FindingsOf(list, diagnosis.Failed)
			if strings.Join(failed, ", ") != checks || len(list) < 10 {
				t.Errorf("failed: %q, want %s\n%s", failed, checks, text)
			}
			for _, one := range list {
				if one.Level != diagnosis.Failed {
					continue
				}
				if !strings.Contains(one.Found, "55P03") || !strings.Contains(one.Cure, "another session has a lock of ") || !strings.Contains(one.Cure, "pg_terminate_backend") {
					t.Errorf("%+v", one)
					continue
				}
				query, _, _ := strings.Cut(one.Cure[strings.Index(one.Cure, "run: ")+len("run: "):], "; ")
				var pid uint32
				if err := db.Conn.QueryRow(t.Context(), query).Scan(&pid, nil, nil, nil, nil, nil); err != nil || pid != db.Conn.PgConn().PID() {
					t.Errorf("%s: session %d, %v; want session %d", query, pid, err, db.Conn.PgConn().PID())
				}
			}
		})
	}
}

// TestDiagnoseReconnects: if the connection ends during a check, that check fails. The later ones use a new connection.
func TestDiagnoseReconnects(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	healthy := diagnosed(db, db.Config())
	operator := db.Conn
	if _, err := operator.Exec(t.Context(), "begin; lock table walpost.dead_letters"); err != nil {
		t.Fatal(err)
	}
	db.Reconnect() // the view of activity stays as it is during a transaction
	done := make(chan []diagnosis.Finding, 1)
	go func() { done <- Run(t.Context(), db.Config(), schema.Template{}, "publish", true) }()
	dbtest.Until(t, "a check waits for the lock, and its session is terminated", func() bool {
		return db.Ask(`select count(pg_terminate_backend(pid))::text from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`) == "1"
	})
	if _, err := operator.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	list := <-done
	failed, text := dbtest.FindingsOf(list, diagnosis.Failed)
	if strings.Join(failed, ", ") != "schema" || !strings.Contains(text, "57P01") || len(list) != len(healthy)+1 {
		t.Errorf("failed: %q, %d findings, want %d\n%s", failed, len(list), len(healthy)+1, text)
	}
}
