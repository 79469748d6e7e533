package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"walpost/internal/kafkatest"
	"walpost/internal/pgtest"
)

// finding is the part of `walpost doctor --json` that programs read.
type finding struct{ Target, Check, Level, Found, Cure string }

// doctor runs `walpost doctor`, checks that the exit code fits, and returns the
// findings.
func (p *pipe) doctor(t testing.TB, env []string, args ...string) []finding {
	t.Helper()
	out := p.cli(t, env, append([]string{"doctor", "--json"}, args...)...)
	var answer struct {
		OK       bool
		Findings []finding
	}
	if err := json.Unmarshal([]byte(out.stdout), &answer); err != nil {
		t.Fatalf("doctor: exit %d, %v\n%s%s", out.code, err, out.stdout, out.stderr)
	}
	if (out.code == 0) != answer.OK || out.code != 0 && out.code != 3 || out.stderr != "" {
		t.Errorf("doctor: exit %d, ok %v, stderr:\n%s", out.code, answer.OK, out.stderr)
	}
	noSecret(t, out.stdout)
	if answer.OK != (len(of(answer.Findings, "failed")) == 0) {
		t.Errorf("doctor: ok %v and failed %q", answer.OK, of(answer.Findings, "failed"))
	}
	return answer.Findings
}

// of returns the checks with a level.
func of(findings []finding, level string) (checks []string) {
	for _, f := range findings {
		if f.Level == level {
			checks = append(checks, f.Target+" "+f.Check)
		}
	}
	return checks
}

// cured returns the cures of the checks that failed.
func cured(findings []finding) string {
	var b strings.Builder
	for _, f := range findings {
		if f.Level == "failed" {
			b.WriteString(f.Cure + "\n")
		}
	}
	return b.String()
}

// The cures that doctor prints help: the test applies each one as it is printed,
// until no check fails and the relay runs.
func TestDoctorCures(t *testing.T) {
	t.Parallel() // mostly waiting
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "1GB"}})
	if err := server.CreateDatabase(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	p := pipeOn(t, &pgtest.DB{Name: "shop", DSN: server.DSN("shop"), Major: server.Major()}, kafkatest.Brokers(t))
	p.env["WALPOST_OUTBOX_TOPIC"] = p.prefix + ".all"
	p.exec(t, "CREATE ROLE relay LOGIN PASSWORD 'hidden-word'")
	env := []string{"WALPOST_POSTGRES_URL=" + p.as(t, "relay", "hidden-word"), "WALPOST_ADMIN_LISTEN=127.0.0.1:1"}
	found := p.doctor(t, env)
	if failed := of(found, "failed"); !slices.Equal(failed, []string{"postgres replication", "postgres table", "postgres schema", "kafka topic"}) {
		t.Fatalf("before any cure: %q\n%s", failed, cured(found))
	}
	p.exec(t, "ALTER ROLE relay REPLICATION") // as the cure says
	if !strings.Contains(cured(found), "run: ALTER ROLE relay REPLICATION") || !strings.Contains(cured(found), "walpost schema apply") ||
		!strings.Contains(cured(found), "kafka-topics.sh --create --topic "+p.prefix+".all") {
		t.Errorf("cures:\n%s", cured(found))
	}
	p.withSchema(t)
	found = p.doctor(t, env)
	if failed := of(found, "failed"); !slices.Equal(failed, []string{"postgres table", "postgres schema", "kafka topic"}) || !strings.Contains(cured(found), "walpost schema print --relay-role relay") {
		t.Errorf("without grants: %q\n%s", failed, cured(found))
	}
	p.withSchema(t, "--relay-role", "relay")
	p.exec(t, "ALTER PUBLICATION walpost DROP TABLE walpost.outbox", "REVOKE SELECT ON walpost.outbox FROM relay")
	found = p.doctor(t, env)
	if failed := of(found, "failed"); !slices.Equal(failed, []string{"postgres publication", "postgres backfill", "kafka topic"}) {
		t.Errorf("publication and rights: %q\n%s", failed, cured(found))
	}
	for _, f := range found {
		if sql, ok := strings.CutPrefix(f.Cure, "run: "); ok && f.Level == "failed" {
			sql, _, _ = strings.Cut(sql, ";")
			p.exec(t, sql)
		}
	}
	topic := p.topic(t, "all", 1, nil)
	found = p.doctor(t, env)
	if failed := of(found, "failed"); failed != nil || !slices.Equal(of(found, "warning"), []string{"kafka topic"}) { // one replica
		t.Fatalf("cured: failed %q, warned of %q\n%s", failed, of(found, "warning"), cured(found))
	}
	p.untouched(t)

	r := p.start(t, env...)
	truth := newOracle(t, p)
	p.exec(t, "INSERT INTO walpost.outbox (aggregatetype, type) SELECT 'order', 'x' FROM generate_series(1, 10)")
	p.settle(t)
	found = p.doctor(t, env, "--address", r.Admin)
	if failed := of(found, "failed"); failed != nil {
		t.Errorf("while a relay runs: %q\n%s", failed, cured(found))
	}
	r.awaitReady(t, "leader")
	r.stop(t)
	p.exactlyOnce(t, topic, truth.rows(t))
}

// doctor reports a server and brokers that do not answer in the same run.
func TestDoctorFindsNobody(t *testing.T) {
	t.Parallel() // mostly waiting
	p := newPipe(t)
	found := p.doctor(t, []string{"WALPOST_POSTGRES_URL=postgres://relay:hidden-word@127.0.0.1:1/shop", "WALPOST_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1", "WALPOST_ADMIN_LISTEN="})
	if failed := of(found, "failed"); !slices.Equal(failed, []string{"postgres connection", "kafka bootstrap"}) {
		t.Errorf("failed: %q", failed)
	}
	text := p.cli(t, []string{"WALPOST_POSTGRES_URL=" + p.elsewhere(t, "no_such_db"), "WALPOST_ADMIN_LISTEN="}, "doctor")
	if text.code != 3 || !strings.Contains(text.stdout, "cure: create the database") {
		t.Errorf("exit %d\n%s%s", text.code, text.stdout, text.stderr)
	}
}
