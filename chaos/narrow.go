package main

import (
	"context"
	"slices"
	"strings"
)

// narrow looks for the shortest part of a round's schedule that breaks a promise too: no fault at all, the one that the first breach came
// under, that and the one before it, and so on, each time twice as many; then the same with the fault behind it, for what is seen under a
// fault may have been done by the next. What it prints has broken a promise.
func (g *rig) narrow(ctx context.Context, r report, part []fault) {
	at := slices.IndexFunc(r.entries, entry.broke) // faults up to it
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
			again, err := g.run(ctx, r.round, tries, r.seed, part[end-n:end])
			if err != nil {
				progress("seed %d, round %d: looking for the smallest history: %v", r.seed, r.round, err)
				return
			}
			if again.broke() {
				progress("seed %d, round %d: the smallest history found: %s", r.seed, r.round, names(part[end-n:end]))
				tell(again)
				return
			}
		}
	}
	progress("seed %d, round %d: %d shorter schedules broke nothing; the smallest history found is the round: %s", r.seed, r.round, tries, names(part))
}

func names(faults []fault) string {
	if len(faults) == 0 {
		return "no fault is needed"
	}
	var all []string
	for _, f := range faults {
		all = append(all, f.name)
	}
	return strings.Join(all, "; ")
}
