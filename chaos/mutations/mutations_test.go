package mutations

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the repository's, from here.
const root = "../.."

// The table has every known failure, in the order of the numbers, and no other.
func TestEveryModeHasAMutation(t *testing.T) {
	var want []string
	for _, kind := range []struct {
		letter string
		count  int
	}{{"L", 12}, {"D", 5}, {"O", 2}, {"A", 7}} {
		for i := range kind.count {
			want = append(want, fmt.Sprint(kind.letter, i+1))
		}
	}
	var got []string
	order := map[string]int{}
	for i, m := range Modes {
		got = append(got, m.ID)
		order[m.ID] = i
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("modes %v, want %v", got, want)
	}
	covered := map[string]bool{}
	last := 0
	for _, m := range All() {
		at, known := order[m.Mode]
		if !known || at < last {
			t.Errorf("mutation of %s in %s: no such mode, or not in order", m.Mode, m.File)
		}
		last = at
		covered[m.Mode] = true
	}
	for _, id := range want {
		if !covered[id] {
			t.Errorf("mode %s has no mutation", id)
		}
	}
}

// The text that a mutation replaces is in its file once.
func TestMutationsFitTheSource(t *testing.T) {
	for i, m := range All() {
		name := fmt.Sprintf("mutation %d, of %s", i+1, m.Mode)
		source, err := os.ReadFile(filepath.Join(root, m.File))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n := strings.Count(string(source), m.Old); n != 1 || m.Old == "" {
			t.Errorf("%s: %s has this text %d times, not once:\n%s", name, m.File, n, m.Old)
			continue
		}
		mutated := strings.Replace(string(source), m.Old, m.New, 1)
		if mutated == string(source) {
			t.Errorf("%s changes nothing", name)
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.File, mutated, 0); err != nil {
			t.Errorf("%s: without the guard the source is not valid Go: %v", name, err)
		}
		for _, text := range []string{m.Prevents, m.Guard} {
			if text == "" || strings.ContainsAny(text, "\n|") {
				t.Errorf("%s: %q cannot be a cell of a Markdown table", name, text)
			}
		}
	}
}

// The test that a mutation names is in the package that it names.
func TestNamedTestsExist(t *testing.T) {
	tests := map[string]map[string]bool{} // by folder
	for i, m := range All() {
		folder := filepath.Join(root, m.Module, m.Package)
		if _, err := os.Stat(filepath.Join(root, m.Module, "go.mod")); err != nil {
			t.Errorf("mutation %d, of %s: module %s: %v", i+1, m.Mode, m.Module, err)
		}
		if tests[folder] == nil {
			tests[folder] = testsIn(t, folder)
		}
		if !tests[folder][m.Test] {
			t.Errorf("mutation %d, of %s: %s does not exist in %s", i+1, m.Mode, m.Test, folder)
		}
	}
}

// testsIn returns the names of the tests of a package.
func testsIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				found[f.Name.Name] = true
			}
		}
	}
	return found
}
