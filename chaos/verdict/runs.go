package verdict

import (
	"sort"
	"time"
)

// runs looks at what comes again. A redelivery is whole when it goes on from where it began, without a gap, to where the partition had
// been before: a consumer that sees an old event then knows that all that follow are old too, until the first new one. One that is
// interrupted by the next redelivery is whole as far as it went.
func (j *judge) runs() {
	type log struct {
		front, last int // ranks by first delivery in this partition; -1: none
		rank        map[string]int
	}
	type place struct {
		topic     string
		partition int32
	}
	logs := make(map[place]*log)
	for i := range j.Records {
		r := &j.Records[i]
		if _, known := j.byID[r.ID]; !known {
			continue
		}
		at := place{r.Topic, r.Partition}
		l := logs[at]
		if l == nil {
			l = &log{front: -1, last: -1, rank: make(map[string]int)}
			logs[at] = l
		}
		rank, seen := l.rank[r.ID]
		if !seen {
			rank = l.front + 1
			l.rank[r.ID] = rank
		} else {
			j.tally(r.Appended).Again++
		}
		if rank > l.last+1 { // it skips: what lies between was seen before, and is missing in the run
			j.tally(r.Appended).Broken++
			j.find(r.Appended, "broken run", "%s: number %d of its partition comes after number %d, and number %d had been there", r, rank, l.last, l.front)
		}
		l.last, l.front = rank, max(l.front, rank)
	}
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
