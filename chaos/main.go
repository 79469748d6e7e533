package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command's.
type options struct {
	faults   int
	each     int
	seed     uint64
	only     string
	round    int
	save     string
	page     string
	write    string
	outcomes string
}

func main() {
	o := options{}
	flag.IntVar(&o.faults, "faults", 1000, "how many faults, by their shares; each kind comes at least once")
	flag.IntVar(&o.each, "each", 25, "faults of a round: it has a fresh database and fresh topics, and ends with a comparison")
	flag.Uint64Var(&o.seed, "seed", 0, "decides which faults come in which order; 0: a new one")
	flag.StringVar(&o.only, "only", "", "only faults whose name contains this")
	flag.IntVar(&o.round, "round", 0, "only this round of the schedule, from 1: to play a failed one again")
	flag.StringVar(&o.save, "save", "", "save the figures in this file")
	flag.StringVar(&o.page, "page", "", "bring no fault: make the page of the figures that were saved in this file")
	flag.StringVar(&o.outcomes, "mutations", "", "the report of command mutate, to go into the page")
	flag.StringVar(&o.write, "write", "guarantees.md", "the page's file")
	flag.Parse()
	if o.faults < 0 || o.each < 1 || o.round < 0 {
		fmt.Fprintln(os.Stderr, "chaos: -faults and -round are no less than 0, -each no less than 1")
		os.Exit(2)
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000)
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

// command is the command that makes the same schedule.
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

// ofRound are the options for one round alone.
func (o options) ofRound(n int) options {
	o.round = n
	return o
}

// errBroken says that a promise was broken; what was is printed before.
var errBroken = errors.New("a promise was broken")

func chaos(ctx context.Context, o options) error {
	known := slices.DeleteFunc(faults(), func(f fault) bool { return !strings.Contains(f.name, o.only) })
	if len(known) == 0 {
		return fmt.Errorf("no fault's name contains %q", o.only)
	}
	parts := rounds(schedule(known, o.faults, o.seed), o.each)
	progress("seed %d: %d rounds of %d faults at most", o.seed, len(parts), o.each)
	rig, err := newRig(ctx)
	if err != nil {
		return err
	}
	if o.round > len(parts) {
		return errors.Join(fmt.Errorf("there are %d rounds", len(parts)), rig.close())
	}
	book := newLedger(o.seed)
	broken := false
	for i, part := range parts {
		if n := i + 1; o.round == 0 || o.round == n {
			rep, err := rig.run(ctx, n, 0, o.seed, part)
			if err != nil {
				return errors.Join(fmt.Errorf("%s: %w", o.ofRound(n).command(), err), rig.close())
			}
			book.add(rep)
			tell(rep)
			if rep.broke() {
				broken = true
				progress("to play it again: %s", o.ofRound(n).command())
				rig.narrow(ctx, rep, part)
			}
		}
	}
	if err := rig.close(); err != nil {
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

// mostEnded is how many relays are told of that ended by themselves.
const mostEnded = 5

// tell says what came of a round.
func tell(r report) {
	var sum line
	for _, e := range r.entries {
		sum.Tally.Add(e.Tally)
		sum.Beyond = max(sum.Beyond, e.beyond)
		sum.Recovery = append(sum.Recovery, e.recovery)
	}
	_, longest := sum.recovery()
	progress("round %d: %d faults, %d rows: lost %d, uncommitted %d, altered %d, out of order %d, confirmed early %d; duplicates %d, of these %d unasked for, broken runs %d, of these %d stray; longest recovery %s, memory beyond the budget %d MiB",
		r.round, len(r.entries)-1, sum.Committed, sum.Lost, sum.Uncommitted, sum.Altered, sum.Disordered, sum.Ahead, sum.Again, sum.Repeated, sum.Broken, sum.Stray, seconds(longest), sum.Beyond>>20)
	for i, e := range r.ended {
		if i == mostEnded {
			progress("round %d: and so on, %d times in all", r.round, len(r.ended))
			break
		}
		progress("round %d: %s", r.round, e)
	}
	if r.findings != "" {
		progress("round %d, seed %d:\n%s", r.round, r.seed, r.findings)
	}
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
