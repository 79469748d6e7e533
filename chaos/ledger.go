package main

import (
	"cmp"
	"slices"
	"time"

	"walpost/chaos/verdict"
)

// report is the result of one round.
type report struct {
	Round    int
	Seed     uint64
	Entries  []entry // one for the time before the first fault, and one for each fault
	Rows     int
	Took     time.Duration
	Findings string   // as text; empty: there are none
	Ended    []string // relays that ended by themselves, and other things that went wrong
}

// entry is one fault of one round.
type entry struct {
	Fault    string
	Length   time.Duration // of the fault itself
	Recovery time.Duration
	Beyond   int64 // the relay's memory beyond relay.max_in_flight_bytes
	verdict.Tally
}

func newReport(r *round, h verdict.History, used []memory) report {
	tallies, findings := verdict.Judge(h)
	rep := report{Round: r.n, Seed: r.seed, Rows: len(h.Rows), Findings: verdict.Explain(h.Spans, findings)}
	for i, span := range h.Spans {
		e := entry{Fault: span.Fault, Tally: tallies[i]}
		if i > 0 {
			s := r.struck[i-1]
			e.Length, e.Recovery = s.mended.Sub(s.begin), s.recovery
		}
		for _, m := range used {
			if !m.at.Before(span.Begin) && (i+1 == len(h.Spans) || m.at.Before(h.Spans[i+1].Begin)) {
				e.Beyond = max(e.Beyond, m.bytes-r.budget)
			}
		}
		rep.Entries = append(rep.Entries, e)
	}
	rep.Ended = append(slices.Clone(r.relay.byItself()), r.stuck...)
	return rep
}

// broke reports whether the round broke a promise.
func (r report) broke() bool {
	return len(r.Ended) > 0 || slices.ContainsFunc(r.Entries, entry.broke)
}

// broke reports whether a promise was broken under the fault.
func (e entry) broke() bool { return e.Tally.Broke() || e.Beyond > headroom }

// line is a fault's row in the ledger.
type line struct {
	Fault    string
	Times    int
	Recovery []time.Duration
	Beyond   int64
	Unbidden int           // relays that ended by themselves; set in the sum only
	Lasted   time.Duration // the longest of them
	verdict.Tally
}

// ledger sums up reports.
type ledger struct {
	lines  map[string]*line
	sum    line
	took   time.Duration
	seed   uint64
	rows   int
	rounds int
}

func newLedger(seed uint64) *ledger {
	return &ledger{lines: make(map[string]*line), seed: seed, sum: line{Fault: "all"}}
}

func (l *ledger) add(r report) {
	l.rows += r.Rows
	l.rounds++
	l.took += r.Took
	l.sum.Unbidden += len(r.Ended)
	for _, e := range r.Entries {
		one := l.lines[e.Fault]
		if one == nil {
			one = &line{Fault: e.Fault}
			l.lines[e.Fault] = one
		}
		for _, to := range []*line{one, &l.sum} {
			to.Tally.Add(e.Tally)
			to.Beyond = max(to.Beyond, e.Beyond)
			to.Lasted = max(to.Lasted, e.Length)
			if e.Fault != beforeFaults {
				to.Times++
				to.Recovery = append(to.Recovery, e.Recovery)
			}
		}
	}
}

// sorted returns the lines, the most frequent faults first.
func (l *ledger) sorted() []*line {
	var all []*line
	for _, one := range l.lines {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *line) int { return cmp.Or(-cmp.Compare(a.Times, b.Times), cmp.Compare(a.Fault, b.Fault)) })
	return all
}

// recovery returns the median and the longest recovery.
func (l *line) recovery() (median, longest time.Duration) {
	if len(l.Recovery) == 0 {
		return 0, 0
	}
	sorted := slices.Sorted(slices.Values(l.Recovery))
	return sorted[len(sorted)/2], sorted[len(sorted)-1]
}
