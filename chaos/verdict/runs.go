package verdict

import (
	"slices"
	"sort"
	"time"
)

// interruptions is how many sessions may end, under one fault, in the middle of a redelivery to the same partition.
const interruptions = 3

// runs judges redeliveries. A redelivery is whole if it goes from its first event, without a gap, to the event that was the newest of the
// partition before. A consumer that sees an old event then knows that all events are old until the first new one. A redelivery that is
// interrupted by the next one is whole as far as it went. A redelivery is also whole if it leaves out only events that were delivered again in
// another partition, or that were parked. Records of dead letters are no redeliveries. Topics whose records have the producer's time are left out, because the fault of a redelivery is unknown.
func (j *judge) runs() {
	logs := make(map[place]*log)
	for i := range j.Records {
		r := &j.Records[i]
		row, known := j.byID[r.ID]
		if !known || r.Replayed || r.Appended.IsZero() || j.exempt(&j.Rows[row]) {
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
		if missing := l.take(row, j.elsewhere); missing >= 0 {
			j.broken(l, "%s: it follows a redelivery that left out %s", r, &j.Rows[missing])
		}
		l.at = r.Appended
	}
	for at, l := range logs { // a redelivery at the very end, after which no new event came
		if missing := l.take(len(j.Rows), j.elsewhere); missing >= 0 {
			j.broken(l, "%s/%d ends with a redelivery that left out %s", at.topic, at.partition, &j.Rows[missing])
		}
	}
}

// elsewhere reports whether a row may be left out of a redelivery: it came again in another partition, or it was parked when it came again.
func (j *judge) elsewhere(row int) bool {
	return j.moved[j.Rows[row].ID] || !j.Rows[row].Parked.IsZero() || !j.Rows[row].Blocked.IsZero()
}

// broken records a redelivery that is not whole. Each relay that was killed explains one in each partition. A relay that was overtaken explains
// any number: it sends one request after another, between those of the other relay.
func (j *judge) broken(l *log, format string, args ...any) {
	span := j.at(l.at)
	j.tallies[span].Broken++
	what := "broken run"
	if l.strays[span]++; l.strays[span] > j.Spans[span].Dead && !j.Spans[span].Overtaken {
		j.tallies[span].Stray++
		what = "stray run"
	}
	j.find(l.at, what, format, args...)
}

// log is the part of a partition's log that was looked at so far.
type log struct {
	last   int       // the row of the last record
	at     time.Time // when that was appended: a redelivery that ends too early counts at this time
	seen   []int     // the rows, in commit order
	strays []int     // broken runs, of each span
	cuts   []int     // redeliveries in the middle of another, of each span
}

// interrupted reports whether the next record's row begins a redelivery although the last redelivery has not ended.
func (l *log) interrupted(row int) bool {
	return len(l.seen) > 0 && row <= l.last && l.last < l.seen[len(l.seen)-1]
}

// take adds the next record's row. It returns a row that should have been delivered again before it; -1: there is none. A step back begins a
// redelivery. A step forward must not skip a row that was there before.
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
