package main

import (
	_ "embed"
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

// guarantees is what docs/guarantees.md is made of.
type guarantees struct {
	Postgres, Kafka, Machine, Version string
	Writers, Largest, Rounds          int
	Faults, Each                      int
	Seed                              uint64
	Took, Rows, Table, Budget, Limit  string
	Exempt                            string
	Ended                             int
	Sum                               line
	Mutations                         []mutations.Outcome
}

// write writes the ledger, and all that explains it, into a file.
func (l *ledger) write(o options, r *rig) error {
	outcomes, err := readOutcomes(o.outcomes)
	if err != nil {
		return err
	}
	text, err := template.New("guarantees").Funcs(template.FuncMap{"where": where}).Parse(guaranteesText)
	if err != nil {
		return err
	}
	file, err := os.Create(o.write)
	if err != nil {
		return err
	}
	err = text.Execute(file, guarantees{
		Postgres: r.postgres.Version(), Kafka: kafkatest.Version, Machine: fmt.Sprintf("%d cores", runtime.NumCPU()), Version: version(),
		Writers: writers, Largest: largest, Rounds: l.rounds, Faults: o.faults, Each: o.each, Seed: l.seed,
		Took: l.took.Round(time.Minute).String(), Rows: grouped(l.rows), Table: l.table(),
		Budget: mebibytes(budget), Limit: mebibytes(budget + headroom), Exempt: grouped(l.sum.Exempt), Ended: l.sum.Unbidden, Sum: l.sum,
		Mutations: outcomes,
	})
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// version is the commit that was run.
func version() string {
	out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "an unknown commit"
	}
	return strings.TrimSpace(string(out))
}
