package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"walpost/internal/testenv/long"
)

// The output of a failed test is printed, and that of a passed test is not. A test that is skipped for another reason than its size makes
// every run fail.
func TestReport(t *testing.T) {
	const file = `package m
import ("fmt"; "testing")
func TestFails(t *testing.T) {
	t.Run("well", func(t *testing.T) { t.Log("unheard") })
	t.Run("badly", func(t *testing.T) { t.Error("the reason") })
}
func TestPasses(t *testing.T) { fmt.Println("chatter"); t.Log("unheard") }
func TestLong(t *testing.T) { t.Skip(%q) }
func TestSkipped(t *testing.T) { t.Skip("no browser") }
`
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"m/go.mod":      "module m\ngo 1.26\n",
		"m/m_test.go":   fmt.Sprintf(file, long.Left),
		"bad/go.mod":    "module bad\ngo 1.26\n",
		"bad/b_test.go": "package bad\nfunc helper() { undefined() }\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		args         []string
		want, absent []string
	}{
		"plain": {nil, []string{"--- FAIL: TestFails", "--- FAIL: TestFails/badly", "m_test.go:5: the reason", "FAIL\tm\t", "undefined: undefined", "FAIL\tbad [build failed]"},
			[]string{"unheard", "chatter", "=== RUN", "PASS", "{"}},
		"verbose": {[]string{"-v"}, []string{"=== RUN   TestPasses", "chatter", "unheard", "--- PASS: TestPasses", "m_test.go:5: the reason"}, []string{"{"}},
		"events":  {[]string{"-json"}, []string{`"Action":"fail","Package":"m","Test":"TestFails"`, `"Output":"chatter\n"`}, []string{"\nFAIL"}},
		"passes":  {[]string{"-run", "Passes|Long"}, []string{"ok  \tm\t"}, []string{"chatter", "PASS", "FAIL"}},
	} {
		t.Run(name, func(t *testing.T) {
			var said strings.Builder
			r := newReport(&said, c.args)
			for _, module := range []string{"m", "bad"} {
				if name != "passes" || module == "m" {
					_ = job{module: module, args: c.args}.run(t.Context(), r, os.Environ())
				}
			}
			for _, want := range c.want {
				if !strings.Contains(said.String(), want) {
					t.Errorf("no %q in what was printed", want)
				}
			}
			for _, absent := range c.absent {
				if strings.Contains(said.String(), absent) {
					t.Errorf("%q was printed", absent)
				}
			}
			if r.left != 1 {
				t.Errorf("%d tests are left to the long size, want 1", r.left)
			}
			if name != "passes" && (len(r.skipped) != 1 || !strings.Contains(r.skipped[0], "TestSkipped in m\n") || !strings.Contains(r.skipped[0], "no browser")) {
				t.Errorf("skipped: %q", r.skipped)
			}
			if t.Failed() {
				t.Log(said.String())
			}
		})
	}
}
