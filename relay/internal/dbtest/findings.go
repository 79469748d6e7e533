package dbtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walpost/internal/diagnosis"
)

// Diagnose runs a diagnosis of the database. It fails the test if the diagnosis changes the database, or if a finding is not well formed.
func (d *Database) Diagnose(run func(context.Context) []diagnosis.Finding) []diagnosis.Finding {
	d.T.Helper()
	ctx, cancel := context.WithTimeout(d.T.Context(), 30*time.Second)
	defer cancel()
	const traces = `select jsonb_build_object('slots', (select jsonb_agg(slot_name) from pg_replication_slots where database = current_database()),
		'publications', (select jsonb_agg(pubname) from pg_publication),
		'objects', (select count(*) from pg_class) + (select count(*) from pg_proc))::text`
	before := d.Ask(traces)
	list := run(ctx)
	if after := d.Ask(traces); after != before {
		d.T.Errorf("the diagnosis left traces: before %s, after %s", before, after)
	}
	for _, one := range list {
		if one.Target != "postgres" || (one.Level == diagnosis.OK) != (one.Cure == "") || strings.Contains(one.Found+one.Cure, "\n") || one.Found == "" {
			d.T.Errorf("finding %+v", one)
		}
	}
	return list
}

// FindingsOf returns the checks of all findings of a level, and the findings as one text.
func FindingsOf(list []diagnosis.Finding, level diagnosis.Level) (checks []string, text string) {
	for _, one := range list {
		if one.Level == level {
			checks = append(checks, one.Check)
			text += one.Found + "; " + one.Cure + "\n"
		}
	}
	return checks, text
}

// WantFailed checks that the failed findings contain these words.
func WantFailed(t testing.TB, list []diagnosis.Finding, words ...string) {
	t.Helper()
	_, text := FindingsOf(list, diagnosis.Failed)
	for _, part := range words {
		if !strings.Contains(text, part) {
			t.Errorf("the diagnosis does not say %q:\n%s", part, text)
		}
	}
}

// WantHealthy checks that no check has failed, and that exactly these checks warn. Transactions of other tests, which share the server, may have been
// open for long: a warning of them does not count.
func WantHealthy(t testing.TB, list []diagnosis.Finding, warnings ...string) {
	t.Helper()
	if failed, text := FindingsOf(list, diagnosis.Failed); failed != nil {
		t.Errorf("failed:\n%s", text)
	}
	got, text := FindingsOf(list, diagnosis.Warning)
	got = slices.DeleteFunc(got, func(check string) bool { return check == "transactions" })
	if !slices.Equal(got, warnings) {
		t.Errorf("warned of %q, want %q:\n%s", got, warnings, text)
	}
}

// WantFinding checks that the findings of a check contain these words. The level may be one of them.
func WantFinding(t testing.TB, list []diagnosis.Finding, check string, words ...string) {
	t.Helper()
	text := ""
	for _, one := range list {
		if one.Check == check {
			text += fmt.Sprintf("%s: %s; %s\n", one.Level, one.Found, one.Cure)
		}
	}
	for _, part := range words {
		if !strings.Contains(text, part) {
			t.Errorf("check %s does not say %q:\n%s", check, part, text)
		}
	}
}
