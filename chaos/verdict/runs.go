package verdict

import (
	"slices"
	"sort"
	"time"
)

// interruptions is how many sessions at most end, under one fault, in the middle of a redelivery of the same partition.
const interruptions = 3

// runs looks at what comes again. A redelivery is whole when it goes on from where it began, without a gap, to where the partition had
// been before: a consumer that sees an old event then knows that all that follow are old too, until the first new one. One that is
// interrupted by the next redelivery is whole as far as it went, and one that leaves out what came again in another partition is whole
// too. Of topics with the producers' times nobody knows under which fault events came again.
func (j *judge) runs() {
	logs := make(map[place]*log)
	for i := range j.Records {
		r := &j.Records[i]
		row, known := j.byID[r.ID]
		if !known || r.Appended.IsZero() || j.exempt(&j.Rows[row]) {
			continue
		}
		at := r.place()
		if logs[at] == nil {
			logs[at] = &log{last: -1, strays: make([]int, len(j.Spans)), cuts: make([]int, len(j.Spans))}
		}
		l := logs[at]
		if l.interrupted(row) {
			span := j.at(r.Appended)
			if l.cuts[span]++; l.cuts[span] > interruptions+j.Spans[span].Dead {
				j.broken(l, "%s: it begins a redelivery in the middle of another, once more", r)
			}
		}
		if missing := l.take(row, func(row int) bool { return j.moved[j.Rows[row].ID] }); missing >= 0 {
			j.broken(l, "%s: it follows a redelivery that left out %s", r, &j.Rows[missing])
		}
		l.at = r.Appended
	}
	for at, l := range logs { // a redelivery at the very end, which nothing new follows
		if missing := l.take(len(j.Rows), func(row int) bool { return j.moved[j.Rows[row].ID] }); missing >= 0 {
			j.broken(l, "%s/%d ends with a redelivery that left out %s", at.topic, at.partition, &j.Rows[missing])
		}
	}
}

// broken notes a redelivery that is not whole. Each relay that died may account for one in each partition.
func (j *judge) broken(l *log, format string, args ...any) {
	span := j.at(l.at)
	j.tallies[span].Broken++
	what := "broken run"
	if l.strays[span]++; l.strays[span] > j.Spans[span].Dead {
		j.tallies[span].Stray++
		what = "stray run"
	}
	j.find(l.at, what, format, args...)
}

// log is what a partition has brought so far.
type log struct {
	last   int       // the row of the last record
	at     time.Time // when that was appended: a redelivery that ends too early counts for when it came
	seen   []int     // the rows, in the order of their commits
	strays []int     // broken runs, of each span
	cuts   []int     // redeliveries in the middle of another, of each span
}

// interrupted reports whether the next record's row begins a redelivery although the last one has not come to its end.
func (l *log) interrupted(row int) bool {
	return len(l.seen) > 0 && row <= l.last && l.last < l.seen[len(l.seen)-1]
}

// take takes the next record's row and returns one that should have come again before it, -1: there is none. A step back begins a
// redelivery; a step forward must not pass over a row that was there before.
func (l *log) take(row int, elsewhere func(row int) bool) (missing int) {
	missing = -1
	if row > l.last {
		for at := sort.SearchInts(l.seen, l.last+1); at < len(l.seen) && l.seen[at] < row; at++ {
			if !elsewhere(l.seen[at]) {
				missing = l.seen[at]
				break
			}
		}
	}
	l.last = row
	if at, there := slices.BinarySearch(l.seen, row); !there {
		l.seen = slices.Insert(l.seen, at, row)
	}
	return missing
}
