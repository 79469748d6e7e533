package main

import (
	"os"
	"path/filepath"
	"reflect"
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
		t.Errorf("a promise was broken: %q", rep.Ended)
	}
	if rep.Findings != "" {
		t.Log(rep.Findings)
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
		rep := report{Round: i, Rows: 1234, Took: time.Minute, Entries: []entry{{Fault: beforeFaults}, {Fault: "a", Recovery: time.Duration(i+1) * time.Second, Beyond: int64(i) << 20}}}
		rep.Entries[1].Committed, rep.Entries[1].Again, rep.Entries[1].Stall = 1000, i, time.Duration(i)*time.Second
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

// A run that was interrupted goes on with the rounds that are left. Another binary, another seed or other options begin another run.
func TestRunGoesOn(t *testing.T) {
	dir := t.TempDir()
	binary, another, keep := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "rounds")
	for _, name := range []string{binary, another} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := options{keep: keep, faults: 100, each: 25}
	rep := report{Round: 2, Rows: 7, Took: time.Minute, Ended: []string{"it"}, Entries: []entry{{Fault: "a", Recovery: time.Second}}}
	rep.Entries[0].Lost = 3
	seed := uint64(0)
	for _, step := range []struct {
		what   string
		change func()
		goesOn bool
	}{
		{"the first run", func() {}, false},
		{"a second one", func() {}, true},
		{"the same seed", func() { o.seed = seed }, true},
		{"another seed", func() { o.seed++ }, false},
		{"another number of faults", func() { o.faults++ }, false},
		{"another number of faults in a round", func() { o.each++ }, false},
		{"other faults", func() { o.only = "x" }, false},
		{"another binary", func() { binary = another }, false},
		{"nothing is kept", func() { o.keep, o.seed = "", 0 }, false},
	} {
		step.change()
		r, err := openRun(o, binary)
		if err != nil {
			t.Fatal(err)
		}
		if found, goesOn := r.results[2]; goesOn != step.goesOn || goesOn && (r.Seed != seed || !reflect.DeepEqual(found, rep)) {
			t.Errorf("%s: seed %d, before it %d; %+v", step.what, r.Seed, seed, r.results)
		}
		if r.Seed == 0 {
			t.Errorf("%s: it has no seed", step.what)
		}
		if seed = r.Seed; !step.goesOn {
			if err := r.Add(rep); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
