// Command mutate shows that walpost's guards are watched over: it takes them
// out, one by one, and runs the test that has to fail then.
//
//	go -C chaos run ./mutate [-only L1,A6] [-workers 2] [-json FILE]
//
// The guards are the table in chaos/mutations. The repository's tracked files
// are copied to a temporary folder for each worker, so the tree it runs from
// is never touched. Before any guard is taken out, every named test has to
// pass; a mutation that does not compile, or whose place in the source is not
// there exactly once, is an error of the table.
//
// It exits with 1 when a test does not fail by an assertion although its guard
// is gone.
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
	workers := flag.Int("workers", min(runtime.NumCPU(), 4), "how many mutations are tried at a time")
	file := flag.String("json", "", "file for the outcomes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends us at once
	if err := run(ctx, *only, *workers, *file); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, workers int, file string) (err error) {
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
	if err := checkWithAllGuards(ctx, trees, chosen); err != nil {
		return err
	}
	outcomes, err := tryAll(ctx, trees, chosen)
	if err != nil {
		return err
	}
	table(os.Stdout, outcomes)
	if file != "" {
		text, err := json.MarshalIndent(outcomes, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return verdict(outcomes)
}

// choose returns the mutations of some modes, all if none is named.
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
			return nil, fmt.Errorf("-only: there is no mode %q", mode)
		}
	}
	return chosen, nil
}

// verdict is an error if any test does not fall without its guard.
func verdict(outcomes []mutations.Outcome) error {
	standing := slices.DeleteFunc(slices.Clone(outcomes), func(o mutations.Outcome) bool { return o.Fell })
	if len(standing) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d guards can be taken out without a test that fails by an assertion", len(standing), len(outcomes))
}
