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
	binary, other, keep := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "rounds")
	for _, name := range []string{binary, other} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func(o options, binary string) *run {
		t.Helper()
		r, err := openRun(o, binary)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.close() })
		return r
	}
	o := options{keep: keep, faults: 100, each: 25}
	first := open(o, binary)
	rep := report{Round: 2, Seed: first.Seed, Rows: 7, Took: time.Minute, Ended: []string{"it"}, Entries: []entry{{Fault: "a", Recovery: time.Second}}}
	rep.Entries[0].Lost = 3
	if err := first.add(rep); err != nil {
		t.Fatal(err)
	}
	if _, err := first.file.WriteString(`{"Round": 3, "Rows`); err != nil { // it was killed
		t.Fatal(err)
	}
	second := open(o, binary)
	if second.Seed != first.Seed || len(second.results) != 1 || !reflect.DeepEqual(second.results[2], rep) {
		t.Errorf("seed %d of %d, %+v", second.Seed, first.Seed, second.results)
	}
	if err := second.add(report{Round: 3}); err != nil {
		t.Fatal(err)
	}
	o.seed = first.Seed
	if r := open(o, binary); len(r.results) != 2 {
		t.Errorf("%d results after the second run", len(r.results))
	}
	for what, change := range map[string]func(o *options){
		"faults": func(o *options) { o.faults++ }, "each": func(o *options) { o.each++ }, "only": func(o *options) { o.only = "x" }, "seed": func(o *options) { o.seed++ },
	} {
		another := o
		change(&another)
		kept, err := os.ReadFile(keep)
		if err != nil {
			t.Fatal(err)
		}
		if r := open(another, binary); len(r.results) != 0 {
			t.Errorf("with another value of %s, it has %d results", what, len(r.results))
		}
		if err := os.WriteFile(keep, kept, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := open(o, other); len(r.results) != 0 {
		t.Errorf("with another binary, it has %d results", len(r.results))
	}
}
