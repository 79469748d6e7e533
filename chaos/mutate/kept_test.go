package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"walpost/chaos/mutations"
)

// A run that was interrupted goes on with the mutations that are left. If a file has changed that is not documentation, all are left.
func TestRunGoesOn(t *testing.T) {
	root, keep := t.TempDir(), filepath.Join(t.TempDir(), "kept")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.go", "package a")
	write("a.md", "# A")
	all := []mutations.Mutation{{Mode: "L1", Test: "TestA"}, {Mode: "L1", Test: "TestB"}, {Mode: "L2", Test: "TestA"}}
	for _, step := range []struct {
		what   string
		change func()
		want   []mutations.Mutation
	}{
		{"at first", func() {}, all},
		{"after one outcome", func() { write("a.md", "# Another") }, []mutations.Mutation{all[0], all[2]}},
		{"after a change", func() { write("a.go", "package b") }, all},
		{"with another file", func() { write("b.go", "package b") }, all},
	} {
		step.change()
		file, known, err := openKept(keep, &tree{root: root})
		if err != nil {
			t.Fatal(err)
		}
		outcomes, left := divide(all, known)
		if !slices.Equal(left, step.want) || len(outcomes) != len(all) || outcomes[1].Fell != (len(left) < len(all)) {
			t.Errorf("%s: %+v, left: %+v", step.what, outcomes, left)
		}
		if err := file.Add(mutations.Outcome{Mutation: all[1], Fell: true}); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
