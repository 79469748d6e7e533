package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Every module is found, except those without code of ours.
func TestFindModules(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range []string{"demo/go.mod", "go.mod", "bench/deep/go.mod", "tools/go.mod", ".hidden/go.mod", "x/testdata/go.mod"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{".", "bench/deep", "demo"}
	if got, err := findModules("."); err != nil || !slices.Equal(got, want) {
		t.Errorf("found %v, %v; want %v", got, err, want)
	}
	if err := os.Remove("go.mod"); err != nil {
		t.Fatal(err)
	}
	if _, err := findModules("."); err == nil {
		t.Error("no error where the root is no module")
	}
}

// If one module fails, the next one still runs, and its success does not hide the failure.
func TestRunJobsReportsFailure(t *testing.T) {
	writeModules(t, map[string]string{
		"bad":  "package m\nimport \"testing\"\nfunc TestIt(t *testing.T) { t.Fail() }\n",
		"good": "package m\nimport (\"os\"; \"testing\")\nfunc TestIt(t *testing.T) { os.WriteFile(\"ran\", nil, 0o600) }\n",
	})
	if err := runJobs(t.Context(), newReport(io.Discard, nil), shortJobs([]string{"bad", "good"}, nil), os.Environ()); err == nil {
		t.Error("the failure is not reported")
	}
	if _, err := os.Stat("good/ran"); err != nil {
		t.Error("the second module's tests did not run")
	}
	if err := runJobs(t.Context(), newReport(io.Discard, nil), shortJobs([]string{"good"}, nil), os.Environ()); err != nil {
		t.Error(err)
	}
}

// A job that runs alone begins when all others have ended.
func TestJobRunsAlone(t *testing.T) {
	writeModules(t, map[string]string{
		"alone": "package m\nimport (\"os\"; \"testing\")\nfunc TestIt(t *testing.T) { if _, err := os.Stat(\"../other/ran\"); err != nil || os.Getenv(\"WHO\") != \"me\" { t.Fatal(err) } }\n",
		"other": "package m\nimport (\"os\"; \"testing\"; \"time\")\nfunc TestIt(t *testing.T) { time.Sleep(time.Second); os.WriteFile(\"ran\", nil, 0o600) }\n",
	})
	jobs := []job{{name: "alone", module: "alone", args: []string{"./..."}, env: []string{"WHO=me"}, alone: true}, {name: "other", module: "other", args: []string{"./..."}}}
	if err := runJobs(t.Context(), newReport(io.Discard, nil), jobs, os.Environ()); err != nil {
		t.Error(err)
	}
	var alone []string
	for i, j := range longJobs([]string{".", measured}, nil) {
		if j.alone {
			alone = append(alone, j.module)
		} else if later := slices.Contains(j.env, "WALPOST_TEST_ALONE=later"); later != (i < 2) {
			t.Errorf("%s: its environment is %q", j.name, j.env)
		}
	}
	if !slices.Equal(alone, []string{measured}) {
		t.Errorf("these run alone: %q", alone)
	}
}

// writeModules writes modules with a test each into a new folder, and goes there.
func writeModules(t *testing.T, tests map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for module, test := range tests {
		if err := os.Mkdir(module, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"go.mod": "module m\ngo 1.26\n", "it_test.go": test} {
			if err := os.WriteFile(filepath.Join(module, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
