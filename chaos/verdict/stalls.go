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
		if f := j.first[i]; f != nil && !f.Appended.IsZero() && j.Rows[i].Parked.IsZero() && j.Rows[i].Blocked.IsZero() {
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

// othersWithin is how long an event of another topic may take while a topic is blocked.
const othersWithin = 2 * time.Second

// others finds rows of topics that took records, and that came late while another topic was blocked.
func (j *judge) others() {
	for _, b := range j.Blocked {
		for i := range j.Rows {
			r, f := &j.Rows[i], j.first[i]
			if f == nil || f.Appended.IsZero() || r.Topic == b.Topic || !r.Parked.IsZero() || r.Committed.Before(b.Begin) || r.Committed.After(b.End) {
				continue
			}
			if took := f.Appended.Sub(r.Committed); took > othersWithin+b.Others {
				j.tally(r.Committed).Held++
				j.find(r.Committed, "held up", "%s: it took %v, while topic %s was blocked", r, took.Round(time.Millisecond), b.Topic)
			}
		}
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
