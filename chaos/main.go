package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the options of the command.
type options struct {
	faults   int
	each     int
	seed     uint64
	only     string
	round    int
	save     string
	keep     string
	page     string
	write    string
	outcomes string
}

func main() {
	o := options{}
	flag.IntVar(&o.faults, "faults", 1000, "number of faults, drawn by their shares; each kind comes at least once")
	flag.IntVar(&o.each, "each", 25, "faults per round: a round has a fresh database and fresh topics, and ends with a comparison")
	flag.Uint64Var(&o.seed, "seed", 0, "seed of the faults and their order; 0: a new one")
	flag.StringVar(&o.only, "only", "", "only faults whose name contains this")
	flag.IntVar(&o.round, "round", 0, "run only this round of the schedule, counted from 1, for example to repeat a failed one")
	flag.StringVar(&o.save, "save", "", "save the figures to this file")
	flag.StringVar(&o.keep, "keep", "", "keep the results of the rounds in this file, and do not run rounds again whose results it has: so a run that was interrupted goes on; without effect with -round")
	flag.StringVar(&o.page, "page", "", "cause no faults: write the page from the figures that were saved to this file")
	flag.StringVar(&o.outcomes, "mutations", "", "the report of command mutate, for the page")
	flag.StringVar(&o.write, "write", "guarantees.md", "the file of the page")
	flag.Parse()
	if o.faults < 0 || o.each < 1 || o.round < 0 {
		fmt.Fprintln(os.Stderr, "chaos: -faults and -round must be at least 0, -each at least 1")
		os.Exit(2)
	}
	if o.round > 0 { // it is to be repeated, and the others are not over with it
		o.keep = ""
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := chaos
	if o.page != "" {
		do = func(_ context.Context, o options) error { return page(o) }
	}
	if err := do(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		stop()
		os.Exit(1)
	}
}

// command returns the command that makes the same schedule.
func (o options) command() string {
	command := fmt.Sprintf("go -C chaos run . -faults %d -each %d -seed %d", o.faults, o.each, o.seed)
	if o.only != "" {
		command += fmt.Sprintf(" -only %q", o.only)
	}
	if o.round > 0 {
		command += fmt.Sprintf(" -round %d", o.round)
	}
	return command
}

// ofRound returns the options for one round alone.
func (o options) ofRound(n int) options {
	o.round = n
	return o
}

// errBroken says that a promise was broken. The details are printed before.
var errBroken = errors.New("a promise was broken")

func chaos(ctx context.Context, o options) error {
	known := slices.DeleteFunc(faults(), func(f fault) bool { return !strings.Contains(f.name, o.only) })
	if len(known) == 0 {
		return fmt.Errorf("-only: no fault has a name that contains %q", o.only)
	}
	rig, err := newRig(ctx)
	if err != nil {
		return err
	}
	run, err := openRun(o, rig.walpost)
	if err != nil {
		return errors.Join(err, rig.close())
	}
	o.seed = run.Seed
	parts := rounds(schedule(known, o.faults, o.seed), o.each)
	progress("seed %d: %d rounds of %d faults at most", o.seed, len(parts), o.each)
	if o.round > len(parts) {
		return errors.Join(fmt.Errorf("-round %d: the schedule has only %d rounds", o.round, len(parts)), run.Close(), rig.close())
	}
	book := newLedger(o.seed)
	broken := false
	for i, part := range parts {
		n := i + 1
		if o.round != 0 && o.round != n {
			continue
		}
		rep, found := run.results[n]
		if !found {
			if rep, err = rig.run(ctx, n, 0, o.seed, part); err == nil {
				err = run.Add(rep)
			}
			if err != nil {
				return errors.Join(fmt.Errorf("%s: %w", o.ofRound(n).command(), err), run.Close(), rig.close())
			}
		}
		book.add(rep)
		tell(rep)
		if rep.broke() {
			broken = true
			progress("to repeat it: %s", o.ofRound(n).command())
			if !found {
				rig.shrink(ctx, rep, part)
			}
		}
	}
	if err := rig.close(); err != nil {
		return err
	}
	if err := run.End(); err != nil {
		return err
	}
	fmt.Println(book.table())
	if o.save != "" {
		if err := book.guarantees(o, rig).save(o.save); err != nil {
			return err
		}
	}
	if broken {
		return errBroken
	}
	return nil
}

// mostEnded is how many of the relays that ended by themselves are printed.
const mostEnded = 5

// tell prints the result of a round.
func tell(r report) {
	var sum line
	for _, e := range r.Entries {
		sum.Tally.Add(e.Tally)
		sum.Beyond = max(sum.Beyond, e.Beyond)
		sum.Recovery = append(sum.Recovery, e.Recovery)
	}
	_, longest := sum.recovery()
	progress("round %d: %d faults, %d rows: lost %d, uncommitted %d, altered %d, out of order %d, confirmed early %d; parked %d, of these %d wrongly and %d discarded, of which %d came; duplicates %d, of these %d not allowed; broken runs %d, of these %d not allowed; longest recovery %s, memory beyond the budget %d MiB",
		r.Round, len(r.Entries)-1, sum.Committed, sum.Lost, sum.Uncommitted, sum.Altered, sum.Disordered, sum.Ahead, sum.Parked, sum.Held, sum.Discarded, sum.Revived, sum.Again, sum.Repeated, sum.Broken, sum.Stray, seconds(longest), sum.Beyond>>20)
	for i, e := range r.Ended {
		if i == mostEnded {
			progress("round %d: %d such events in all", r.Round, len(r.Ended))
			break
		}
		progress("round %d: %s", r.Round, e)
	}
	if r.Findings != "" {
		progress("round %d, seed %d:\n%s", r.Round, r.Seed, r.Findings)
	}
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
