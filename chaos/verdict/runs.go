package verdict

import (
	"slices"
	"sort"
	"time"
)

// runs looks at what comes again. A redelivery is whole when it goes on from where it began, without a gap, to where the partition had
// been before: a consumer that sees an old event then knows that all that follow are old too, until the first new one. One that is
// interrupted by the next redelivery is whole as far as it went, and one that leaves out what came again in another partition is whole too.
func (j *judge) runs() {
	logs := make(map[place]*log)
	for i := range j.Records {
		r := &j.Records[i]
		row, known := j.byID[r.ID]
		if !known || j.exempt(&j.Rows[row]) {
			continue
		}
		at := r.place()
		if logs[at] == nil {
			logs[at] = &log{last: -1}
		}
		l := logs[at]
		if missing := l.take(row, func(row int) bool { return j.moved[j.Rows[row].ID] }); missing >= 0 {
			j.tally(l.at).Broken++
			j.find(l.at, "broken run", "%s: it follows a redelivery that left out %s", r, &j.Rows[missing])
		}
		l.at = r.Appended
	}
	for at, l := range logs { // a redelivery at the very end, which nothing new follows
		if missing := l.take(len(j.Rows), func(row int) bool { return j.moved[j.Rows[row].ID] }); missing >= 0 {
			j.tally(l.at).Broken++
			j.find(l.at, "broken run", "%s/%d ends with a redelivery that left out %s", at.topic, at.partition, &j.Rows[missing])
		}
	}
}

// log is what a partition has brought so far.
type log struct {
	last int       // the row of the last record
	at   time.Time // when that was appended: a redelivery that ends too early counts for when it came
	seen []int     // the rows, in the order of their commits
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

// stalls finds, for each span, the longest time in which rows waited and nothing was appended.
func (j *judge) stalls() {
	type event struct {
		at    time.Time
		delta int
	}
	var events []event
	for i := range j.Rows {
		if f := j.first[i]; f != nil {
			// The broker's milliseconds are cut off: an append may seem to be before the commit.
			appended := f.Appended.Add(time.Millisecond)
			events = append(events, event{j.Rows[i].Committed, 1}, event{maxTime(appended, j.Rows[i].Committed), -1})
		}
	}
	sort.SliceStable(events, func(a, b int) bool { return events[a].at.Before(events[b].at) })
	waiting := 0
	var since time.Time
	for _, e := range events {
		if e.delta < 0 {
			// It counts for the fault in which the waiting began.
			t := j.tally(since)
			t.Stall = max(t.Stall, e.at.Sub(since))
		}
		if waiting == 0 || e.delta < 0 {
			since = e.at
		}
		waiting += e.delta
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
