package main

import (
	"slices"
	"testing"
	"time"

	"walpost/internal/testenv/long"
	"walpost/internal/testenv/need"
)

// TestShort is a short `make chaos`: one round in which each fault that takes only seconds comes once. In the short size, each promise has the
// test that the table in mutations names.
func TestShort(t *testing.T) {
	long.Only(t)
	rig, err := newRig(t.Context())
	need.Met(t, err)
	t.Cleanup(func() {
		if err := rig.close(); err != nil {
			t.Error(err)
		}
	})
	known := slices.DeleteFunc(faults(), func(f fault) bool { return !f.is(brief) })
	const seed = 1
	part := schedule(known, 0, seed)
	rep, err := rig.run(t.Context(), 1, 0, seed, part)
	if err != nil {
		t.Fatal(err)
	}
	book := newLedger(seed)
	book.add(rep)
	t.Log("\n" + book.table())
	if rep.broke() {
		t.Errorf("a promise was broken: %q", rep.ended)
	}
	if rep.findings != "" {
		t.Log(rep.findings)
	}
	if book.sum.Times != len(known) || book.sum.Committed < 100*len(known) {
		t.Errorf("%d of %d faults, %d rows: too few to show anything", book.sum.Times, len(known), book.sum.Committed)
	}
}

// The seed alone decides the order of the faults, and each kind comes.
func TestScheduleIsTheSeeds(t *testing.T) {
	list := func(faults []fault) (list []string) {
		for _, f := range faults {
			list = append(list, f.name)
		}
		return list
	}
	known := faults()
	one, again, other := list(schedule(known, 1000, 5)), list(schedule(known, 1000, 5)), list(schedule(known, 1000, 6))
	if !slices.Equal(one, again) || slices.Equal(one, other) || len(one) < 1000 {
		t.Errorf("%d faults; the same seed repeats them: %t; so does another seed: %t", len(one), slices.Equal(one, again), slices.Equal(one, other))
	}
	for _, f := range known {
		if !slices.Contains(one, f.name) {
			t.Errorf("%s never comes", f.name)
		}
	}
	if parts := rounds(schedule(known, 1000, 5), 25); !slices.Equal(list(slices.Concat(parts...)), one) {
		t.Error("the rounds together are not the schedule")
	}
}

// The ledger has the sums of the reports.
func TestLedgerAddsUp(t *testing.T) {
	l := newLedger(1)
	for i := range 3 {
		rep := report{round: i, rows: 1234, entries: []entry{{fault: beforeFaults}, {fault: "a", recovery: time.Duration(i+1) * time.Second, beyond: int64(i) << 20}}}
		rep.entries[1].Committed, rep.entries[1].Again, rep.entries[1].Stall = 1000, i, time.Duration(i)*time.Second
		l.add(rep)
	}
	const want = "| a | 3 | 0.0 s | 3,000 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 3 | 0 | 2.0 s | 2.0 s, 3.0 s | 2 MiB |\n"
	if got := l.lines["a"].row(); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if l.rows != 3702 || l.rounds != 3 || l.sum.Times != 3 {
		t.Errorf("%d rows, %d rounds, %d faults", l.rows, l.rounds, l.sum.Times)
	}
}
