package main

import (
	"context"
	"slices"
	"strings"
)

// shrink looks for the shortest part of a round's schedule that breaks a promise too. It tries no fault at all, then the fault under which
// the promise was first broken, then that fault and the one before it, and so on, each time twice as many. Then it tries the same with the
// next fault added, because an error that was seen under one fault may have been caused by the next. Each schedule that it prints as found
// has broken a promise.
func (g *rig) shrink(ctx context.Context, r report, part []fault) {
	at := slices.IndexFunc(r.Entries, entry.broke) // faults up to it
	if at < 0 {
		at = len(part)
	}
	tries := 0
	for _, end := range []int{at, min(at+1, len(part))} {
		for n := 0; n <= end; n = max(1, 2*n) {
			if n == 0 && tries > 0 || n == len(part) {
				continue
			}
			tries++
			again, err := g.run(ctx, r.Round, tries, r.Seed, part[end-n:end])
			if err != nil {
				progress("seed %d, round %d: look for a shorter schedule: %v", r.Seed, r.Round, err)
				return
			}
			if again.broke() {
				progress("seed %d, round %d: the shortest schedule found that breaks a promise: %s", r.Seed, r.Round, names(part[end-n:end]))
				tell(again)
				return
			}
		}
	}
	progress("seed %d, round %d: %d shorter schedules broke no promise; the shortest schedule found is the whole round: %s", r.Seed, r.Round, tries, names(part))
}

func names(faults []fault) string {
	if len(faults) == 0 {
		return "no fault at all"
	}
	var all []string
	for _, f := range faults {
		all = append(all, f.name)
	}
	return strings.Join(all, "; ")
}
