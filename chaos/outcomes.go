package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path"

	"walpost/chaos/mutations"
)

// readOutcomes reads the report of command mutate. It returns nothing if name is empty.
func readOutcomes(name string) ([]mutations.Outcome, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var all []mutations.Outcome
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read the mutations in %s: %w", name, err)
	}
	return all, nil
}

// where returns the package of an outcome's test.
func where(o mutations.Outcome) string { return path.Join(o.Module, o.Package) }
