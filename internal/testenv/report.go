package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"walpost/internal/testenv/long"
)

// report prints the output of go test and counts the tests that did not run. It reads the events of `go test -json` and prints the same as
// `go test` without -json: a line for each package, and the output of failed tests.
//
// It may read several go commands at the same time. It keeps the output of one package together.
type report struct {
	raw     bool // print the events as they are
	verbose bool // print the output of every test at once

	mu      sync.Mutex
	out     io.Writer
	left    int      // tests that only make test-long runs
	skipped []string // tests that were skipped for another reason
}

// newReport returns a report for the given arguments of go test.
func newReport(out io.Writer, args []string) *report {
	has := func(flag string) bool { return slices.Contains(args, flag) || slices.Contains(args, "-"+flag) }
	return &report{raw: has("-json"), verbose: has("-v"), out: out}
}

// event is a line of `go test -json`: see `go doc test2json`.
type event struct{ Action, Package, Test, Output string }

// output is the output of one package's tests, by test. The output of the package itself is under the empty name.
type output map[string]string

// String returns the output of the tests in the order of their names, so that a test comes before its subtests, and then the output of the
// package itself.
func (o output) String() string {
	var text strings.Builder
	for _, test := range slices.Sorted(maps.Keys(o)) {
		if test != "" {
			text.WriteString(o[test])
		}
	}
	return text.String() + o[""]
}

// read reports everything that one go command writes.
func (r *report) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	running := make(map[string]output) // by package
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.take(line, running)
		}
		if err != nil {
			for _, o := range running {
				r.say(o.String()) // packages that were interrupted
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read the output of go test: %w", err)
		}
	}
}

func (r *report) take(line string, running map[string]output) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		r.print(line) // output of the go command itself
		return
	}
	if r.raw {
		r.print(line)
	}
	o := running[e.Package]
	if o == nil {
		o = make(output)
		running[e.Package] = o
	}
	switch {
	case e.Action == "build-output":
		r.say(e.Output)
	case e.Action == "output":
		if r.verbose && !r.raw {
			r.print(e.Output)
		}
		if !strings.HasPrefix(e.Output, "=== ") && e.Output != "PASS\n" {
			o[e.Test] += e.Output
		}
	case e.Test != "" && e.Action == "skip":
		r.skip(e, o[e.Test])
		delete(o, e.Test)
	case e.Test != "" && (e.Action == "pass" || e.Action == "bench"):
		delete(o, e.Test)
	case e.Test == "" && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip"):
		r.say(o.String())
		delete(running, e.Package)
	}
}

// skip counts a test that was skipped.
func (r *report) skip(e event, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case strings.Contains(why, long.Left):
		r.left++
		return
	case strings.Contains(why, long.LeftAlone): // the last job runs it
		return
	}
	r.skipped = append(r.skipped, fmt.Sprintf("%s in %s\n%s", e.Test, e.Package, why))
}

// unrun prints how many tests are left to the long size, and returns an error if other tests were skipped. So a green run never hides a
// test that did not run.
func (r *report) unrun() error {
	if r.left > 0 {
		r.say(fmt.Sprintf("%d tests are left to make test-long\n", r.left))
	}
	if len(r.skipped) == 0 {
		return nil
	}
	return fmt.Errorf("%d tests were skipped:\n%s", len(r.skipped), strings.Join(r.skipped, ""))
}

// say prints text that go test prints without -v and -json.
func (r *report) say(text string) {
	if !r.raw && !r.verbose {
		r.print(text)
	}
}

func (r *report) print(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = io.WriteString(r.out, text)
}
