package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path"

	"walpost/chaos/mutations"
)

// fallen is a mutation whose test fell, as command mutate reports it.
type fallen struct {
	mutations.Mutation
	Survived bool
}

// Where is the package of the test.
func (f fallen) Where() string { return path.Join(f.Module, f.Package) }

// readFallen reads the report of command mutate; no name, no mutations.
func readFallen(name string) ([]fallen, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var all []fallen
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read the mutations in %s: %w", name, err)
	}
	return all, nil
}
