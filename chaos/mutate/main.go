// Command mutate shows that a test watches over each of walpost's guards. It
// takes the guards out, one at a time, and runs the test that has to fail then.
//
//	go -C chaos run ./mutate [-only L1,A6] [-workers 2] [-keep FILE] [-json FILE]
//
// The guards are in the table in chaos/mutations. The repository's tracked
// files are copied to a temporary folder for each worker, so the working tree
// is never changed. Before any guard is taken out, every named test has to
// pass. A mutation that does not compile is an error of the table, and so is
// one whose source text is not in the file exactly once.
//
// It exits with 1 if a test does not fail by an assertion without its guard.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"walpost/chaos/mutations"
	"walpost/internal/testenv/servers"
)

func main() {
	only := flag.String("only", "", "comma-separated modes, such as L1,A6; empty: all")
	workers := flag.Int("workers", min(runtime.NumCPU(), 4), "number of mutations that are tried at the same time")
	file := flag.String("json", "", "write the outcomes to this file")
	keep := flag.String("keep", "", "keep the outcomes in this file while there are others to come, and do not try mutations again whose outcomes it has: so a run that was interrupted goes on, as long as no file of the repository has changed, except documentation; without effect with -only")
	flag.Parse()
	if *only != "" { // the others are not over with these
		*keep = ""
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the command at once
	if err := run(ctx, *only, *workers, *keep, *file); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, workers int, keep, report string) (err error) {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	trees, remove, err := copyRepository(ctx, max(workers, 1))
	defer func() { err = errors.Join(err, remove()) }()
	if err != nil {
		return err
	}
	set, err := servers.Start(ctx)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	for _, t := range trees {
		t.env = append(set.Environment(), environment...)
	}
	file, known, err := openKept(keep, trees[0])
	if err != nil {
		return err
	}
	outcomes, left := divide(chosen, known)
	if err := checkWithAllGuards(ctx, trees, left); err != nil {
		return err
	}
	if err := tryAll(ctx, trees, left, func(o mutations.Outcome) error {
		outcomes[slices.Index(chosen, o.Mutation)] = o
		return file.Add(o)
	}); err != nil {
		return err
	}
	if err := file.End(); err != nil {
		return err
	}
	table(os.Stdout, outcomes)
	if report != "" {
		text, err := json.MarshalIndent(outcomes, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(report, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return verdict(outcomes)
}

// choose returns the mutations of some modes, or all if none is named.
func choose(only string) ([]mutations.Mutation, error) {
	if only == "" {
		return mutations.All(), nil
	}
	var chosen []mutations.Mutation
	for mode := range strings.SplitSeq(only, ",") {
		before := len(chosen)
		for _, m := range mutations.All() {
			if m.Mode == mode {
				chosen = append(chosen, m)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("-only: mode %q does not exist", mode)
		}
	}
	return chosen, nil
}

// verdict returns an error if any test does not fail without its guard.
func verdict(outcomes []mutations.Outcome) error {
	standing := slices.DeleteFunc(slices.Clone(outcomes), func(o mutations.Outcome) bool { return o.Fell })
	if len(standing) == 0 {
		return nil
	}
	return fmt.Errorf("for %d of %d guards, no test fails by an assertion when the guard is taken out", len(standing), len(outcomes))
}
