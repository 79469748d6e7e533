package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"walpost/chaos/mutations"
)

// judge reads from the output of go test how a test failed.
func TestJudge(t *testing.T) {
	failed := errors.New("exit status 1")
	for name, c := range map[string]struct {
		out  string
		err  error
		fell bool
		how  string // empty: the test has no result, which is an error
		said string
	}{
		"passed":            {"=== RUN   TestX\n--- PASS: TestX (0.1s)\nPASS\n", nil, false, "the test passes", ""},
		"assertion":         {"=== RUN   TestX\n    x_test.go:5: it is 1\n    x_test.go:6: it is 2\n--- FAIL: TestX (0.1s)\nFAIL\n", failed, true, "assertion", "it is 1"},
		"data race":         {"=== RUN   TestX\n==================\nWARNING: DATA RACE\n    testing.go:1: race detected during execution of test\n--- FAIL: TestX (0.1s)\n", failed, false, "a data race and no assertion", ""},
		"assertion, racing": {"=== RUN   TestX\nWARNING: DATA RACE\n    x_test.go:5: it is 1\n--- FAIL: TestX (0.1s)\n", failed, true, "assertion", "it is 1"},
		"time-out":          {"=== RUN   TestX\npanic: test timed out after 1m30s\n", failed, false, "a time-out and no assertion", ""},
		"panic":             {"=== RUN   TestX\n--- FAIL: TestX (0.1s)\npanic: relay: no\n", failed, false, "a panic and no assertion", ""},
		"does not compile":  {"# walpost/relay\nrelay/x_test.go:1:2: undefined: y\nFAIL\twalpost/relay [build failed]\n", failed, false, "", ""},
		"another test":      {"=== RUN   TestXY\n    x_test.go:5: it is 1\n--- FAIL: TestXY (0.1s)\nFAIL\n", failed, false, "", "it is 1"},
	} {
		t.Run(name, func(t *testing.T) {
			if fell, how, err := judge("TestX", c.out, c.err); fell != c.fell || how != c.how || (err != nil) != (c.how == "") {
				t.Errorf("fell %t by %q, %v; want %t by %q", fell, how, err, c.fell, c.how)
			}
			if got := reason(c.out); got != c.said {
				t.Errorf("said %q, want %q", got, c.said)
			}
		})
	}
}

// A mutation that does not fit the file is an error and does not change it. One
// that fits is undone exactly.
func TestMutateAndRestore(t *testing.T) {
	tr := &tree{root: t.TempDir()}
	path := filepath.Join(tr.root, "x.go")
	const before = "a guard, and a guard more\n"
	if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	holds := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("the file holds %q, %v; want %q", got, err, want)
		}
	}
	for _, old := range []string{"guard", "absent"} {
		if _, err := tr.mutate(mutations.Mutation{File: "x.go", Old: old}); err == nil || !strings.Contains(err.Error(), "out of date") {
			t.Errorf("%q: %v", old, err)
		}
		holds(before)
	}
	restore, err := tr.mutate(mutations.Mutation{File: "x.go", Old: "guard,", New: "hole,"})
	if err != nil {
		t.Fatal(err)
	}
	holds("a hole, and a guard more\n")
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	holds(before)
}
