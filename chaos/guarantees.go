package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/template"
	"time"

	"walpost/chaos/mutations"
	"walpost/internal/kafkatest"
)

//go:embed guarantees.md.tmpl
var guaranteesText string

// guarantees has the figures of docs/guarantees.md.
type guarantees struct {
	Postgres, Kafka, Machine, Version string
	Writers, Largest, Rounds          int
	Command                           string
	Seed                              uint64
	Took, Rows, Table                 string
	Tight, Usual, Headroom            string
	Exempt, SenderTimeout, Glance     string
	RequestTimeout                    string
	Ended                             int
	Sum                               line
	Mutations                         []mutations.Outcome
}

// guarantees returns the figures of the page: the ledger, and the facts of the run that explain it.
func (l *ledger) guarantees(o options, r *rig) guarantees {
	return guarantees{
		Postgres: r.postgres.Version(), Kafka: kafkatest.Version, Machine: fmt.Sprintf("%d cores", runtime.NumCPU()), Version: r.version,
		Writers: writers, Largest: largest, Rounds: l.rounds, Command: o.command(), Seed: l.seed,
		Took: strings.TrimSuffix(l.took.Round(time.Minute).String(), "0s"), Rows: grouped(l.rows), Table: l.table(),
		Tight: mebibytes(tight), Usual: mebibytes(usual), Headroom: mebibytes(headroom), SenderTimeout: senderTimeout, RequestTimeout: requestTimeout, Glance: sampleEvery.String(),
		Exempt: grouped(l.sum.Exempt), Ended: l.sum.Unbidden, Sum: l.sum,
	}
}

// save saves a run's figures, so that the page can be made from them later.
func (g guarantees) save(name string) error {
	text, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

// page writes the page from a run's saved figures, and from the report of the mutations if there is one.
func page(o options) error {
	saved, err := os.ReadFile(o.page)
	if err != nil {
		return err
	}
	var g guarantees
	if err := json.Unmarshal(saved, &g); err != nil {
		return fmt.Errorf("read the figures in %s: %w", o.page, err)
	}
	if g.Mutations, err = readOutcomes(o.outcomes); err != nil {
		return err
	}
	for _, outcome := range g.Mutations {
		if !outcome.Fell {
			return fmt.Errorf("mode %s: %s does not fail without its guard: %s", outcome.Mode, outcome.Test, outcome.Guard)
		}
	}
	text, err := template.New("guarantees").Funcs(template.FuncMap{"where": where}).Parse(guaranteesText)
	if err != nil {
		return err
	}
	file, err := os.Create(o.write)
	if err != nil {
		return err
	}
	err = text.Execute(file, g)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// version returns the commit that was run.
func version() string {
	out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "an unknown commit"
	}
	return strings.TrimSpace(string(out))
}
