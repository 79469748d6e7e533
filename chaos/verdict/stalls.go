package verdict

import (
	"sort"
	"time"
)

// stalls finds the longest time, for each span, in which rows waited and nothing was appended.
func (j *judge) stalls() {
	type event struct {
		at    time.Time
		delta int
	}
	var events []event
	for i := range j.Rows {
		if f := j.first[i]; f != nil && !f.Appended.IsZero() && j.Rows[i].Parked.IsZero() {
			// The broker's time is cut to milliseconds, so an append can seem to be before the commit.
			appended := f.Appended.Add(time.Millisecond)
			events = append(events, event{j.Rows[i].Committed, 1}, event{maxTime(appended, j.Rows[i].Committed), -1})
		}
	}
	sort.SliceStable(events, func(a, b int) bool { return events[a].at.Before(events[b].at) })
	waiting := 0
	var since time.Time
	for _, e := range events {
		if e.delta < 0 {
			// It counts for the fault under which the waiting began.
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
