package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"walpost/chaos/mutations"
)

// testLimit is the time limit of the test of one mutation.
const testLimit = 90 * time.Second

// each runs n jobs, one at a time in each tree, until one fails.
func each(ctx context.Context, trees []*tree, n int, do func(ctx context.Context, t *tree, job int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for _, t := range trees {
		workers.Go(func() {
			for ctx.Err() == nil {
				job := int(next.Add(1)) - 1
				if job >= n {
					return
				}
				if err := do(ctx, t, job); err != nil {
					fail(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// place is the module and the package of a test.
type place struct{ module, pkg string }

// checkWithAllGuards checks that every test that a mutation names runs, and
// passes with all guards in place.
func checkWithAllGuards(ctx context.Context, trees []*tree, all []mutations.Mutation) error {
	named := map[place][]string{}
	var places []place
	for _, m := range all {
		p := place{m.Module, m.Package}
		if named[p] == nil {
			places = append(places, p)
		}
		named[p] = append(named[p], m.Test)
	}
	return each(ctx, trees, len(places), func(ctx context.Context, t *tree, job int) error {
		p := places[job]
		began := time.Now()
		pattern := "^(" + strings.Join(named[p], "|") + ")$"
		out, err := t.command(ctx, p.module, "test", "-race", "-vet=off", "-count=1", "-v", "-run", pattern, p.pkg)
		if err != nil {
			return fmt.Errorf("run the tests of %s in module %s with all guards in place: %w\n%s", p.pkg, p.module, err, out)
		}
		for _, test := range named[p] {
			if !strings.Contains(out, "\n--- PASS: "+test+" (") {
				return fmt.Errorf("the table is out of date: test %s does not exist in %s of module %s, or was skipped", test, p.pkg, p.module)
			}
		}
		fmt.Fprintf(os.Stderr, "with all guards in place: %s of module %s passes (%.0f s)\n", p.pkg, p.module, time.Since(began).Seconds())
		return nil
	})
}

// tryAll tries all mutations, one at a time in each tree. It calls add with each outcome, one after the other.
func tryAll(ctx context.Context, trees []*tree, all []mutations.Mutation, add func(mutations.Outcome) error) error {
	var said sync.Mutex
	done := 0
	return each(ctx, trees, len(all), func(ctx context.Context, t *tree, job int) error {
		o, err := try(ctx, t, all[job])
		if err != nil {
			return fmt.Errorf("mode %s, %s: %w", all[job].Mode, all[job].File, err)
		}
		said.Lock()
		defer said.Unlock()
		done++
		fmt.Fprintf(os.Stderr, "%2d of %d  %-3s  %s without a guard of %s: %s (%.0f s)\n", done, len(all), o.Mode, o.Test, o.File, outcomeText(o), o.Seconds)
		return add(o)
	})
}

// try takes one guard out, runs its test, and puts the guard back.
func try(ctx context.Context, t *tree, m mutations.Mutation) (o mutations.Outcome, err error) {
	restore, err := t.mutate(m)
	if err != nil {
		return o, err
	}
	defer func() {
		if back := restore(); err == nil {
			err = back
		}
	}()
	began := time.Now()
	// A mutation that does not compile shows nothing. With -race, the test uses the result of this build.
	if out, err := t.command(ctx, filepath.Dir(m.File), "build", "-race", "."); err != nil {
		return o, fmt.Errorf("compile without the guard: %w\n%s", err, out)
	}
	limited, cancel := context.WithTimeout(ctx, testLimit+2*time.Minute) // the first build may take long
	defer cancel()
	out, err := t.command(limited, m.Module, "test", "-race", "-vet=off", "-count=1", "-v", "-timeout", testLimit.String(), "-run", "^"+m.Test+"$", m.Package)
	o = mutations.Outcome{Mutation: m, Seconds: time.Since(began).Seconds()}
	if ctx.Err() != nil {
		return o, ctx.Err()
	}
	if o.Fell, o.How, err = judge(m.Test, out, err); o.Fell {
		o.Said = reason(out)
	}
	return o, err
}

// judge returns the result of a test from the output of go test. The test has to fail by an assertion, because any other end may have another
// cause. An error means that the test itself has no result.
func judge(test, out string, err error) (fell bool, how string, _ error) {
	switch failed := strings.Contains(out, "\n--- FAIL: "+test+" (") || strings.HasPrefix(out, "--- FAIL: "+test+" ("); {
	case err == nil:
		return false, "the test passes", nil
	case strings.Contains(out, "panic: test timed out"):
		return false, "a time-out and no assertion", nil
	case strings.Contains(out, "\npanic: ") || strings.Contains(out, "\nfatal error: "):
		return false, "a panic and no assertion", nil
	case failed && strings.Contains(out, "WARNING: DATA RACE") && reason(out) == "":
		return false, "a data race and no assertion", nil
	case failed:
		return true, "assertion", nil
	}
	return false, "", fmt.Errorf("run the test: %w\n%s", err, out)
}

// assertion matches a line that a test printed: file, line, text.
var assertion = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (.*)$`)

// reason returns the first line that a failed test printed. A line of the race
// detector does not count.
func reason(out string) string {
	for _, line := range assertion.FindAllStringSubmatch(out, -1) {
		return line[1]
	}
	return ""
}

// outcomeText describes the outcome of a mutation in a few words.
func outcomeText(o mutations.Outcome) string {
	if !o.Fell {
		return "does NOT fail: " + o.How
	}
	return "fails, as it has to"
}
