package verdict

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// most is how many findings of a kind are reported.
const most = 5

// judge is the state of judging one history.
type judge struct {
	History
	byID     map[string]int  // index in Rows
	first    []*Record       // of each row; nil: it is in no topic
	gone     []time.Time     // of each row, when the slot was first seen confirmed beyond it; zero: never
	moved    map[string]bool // rows that are in more than one partition
	tallies  []Tally
	findings []Finding
	told     map[string]int
}

// Judge returns a tally for each span, and the findings.
func Judge(h History) ([]Tally, []Finding) {
	j := &judge{History: h, byID: make(map[string]int, len(h.Rows)), first: make([]*Record, len(h.Rows)),
		moved: make(map[string]bool), tallies: make([]Tally, len(h.Spans)), told: make(map[string]int)}
	for i, r := range h.Rows {
		j.byID[r.ID] = i
	}
	j.claims()
	j.forgotten()
	j.records()
	j.rows()
	j.order()
	j.parked()
	j.overtaken()
	j.discarded()
	j.runs()
	j.ahead()
	j.stalls()
	j.others()
	return j.tallies, j.findings
}

// at returns the index of the span that has the time.
func (j *judge) at(t time.Time) int {
	return max(0, sort.Search(len(j.Spans), func(i int) bool { return j.Spans[i].Begin.After(t) })-1)
}

func (j *judge) tally(t time.Time) *Tally { return &j.tallies[j.at(t)] }

func (j *judge) find(at time.Time, what, format string, args ...any) {
	if j.told[what]++; j.told[what] <= most {
		span := j.at(at)
		j.findings = append(j.findings, Finding{Span: span, What: what, Text: fmt.Sprintf(format, args...)})
	}
}

// claims compares the writers' claims with the server's WAL. They have to agree before the relay can be judged by them.
func (j *judge) claims() {
	for _, c := range j.Claims {
		for _, id := range c.IDs {
			if _, there := j.byID[id]; there != c.Committed {
				j.tallies[0].Denied++
				j.find(time.Time{}, "claim", "row %s: COMMIT returned: %t; in the server's WAL: %t", id, c.Committed, there)
			}
		}
	}
}

// forgotten finds the time from which the slot was confirmed beyond each row. A row that is in no topic is lost from then on.
func (j *judge) forgotten() {
	j.gone = make([]time.Time, len(j.Rows))
	s := 0
	for i := range j.Rows {
		for s < len(j.Samples) && j.Samples[s].Confirmed <= j.Rows[i].Commit {
			s++
		}
		if s == len(j.Samples) {
			return
		}
		j.gone[i] = j.Samples[s].At
	}
}

// when returns the time that decides under which fault a record counts: the time of the append, or of the row's commit if the former is
// unknown.
func (j *judge) when(r *Record) time.Time {
	if row, known := j.byID[r.ID]; known && r.Appended.IsZero() {
		return j.Rows[row].Committed
	}
	return r.Appended
}

// records finds each row's first delivery, records of rows that were never committed, and rows that were delivered again.
func (j *judge) records() {
	for i := range j.Records {
		r := &j.Records[i]
		row, known := j.byID[r.ID]
		if !known || j.Rows[row].Topic != r.Topic {
			j.tally(r.Appended).Uncommitted++
			j.find(r.Appended, "uncommitted", "%s: no such row was committed", r)
			continue
		}
		if what := j.wrong(r, row); what != "" {
			j.tally(j.when(r)).Altered++
			j.find(j.when(r), "altered", "%s: %s %s", r, what, &j.Rows[row])
		}
		f := j.first[row]
		if f == nil || r.before(f) {
			j.first[row] = r
		}
		if f != nil {
			j.again(f, r)
		}
	}
}

// wrong describes how a record differs from its row; empty: it does not.
func (j *judge) wrong(r *Record, row int) string {
	switch {
	case r.Content != j.Rows[row].Content:
		return "its key, value or headers are not those of"
	case r.Misplaced:
		return "its partition is not that of the key of"
	case !r.Stamp.IsZero() && !j.stamped(r.Stamp, row):
		return "its timestamp " + r.Stamp.Format("2006-01-02 15:04:05.000") + " is not that of"
	}
	return ""
}

// stamped reports whether a timestamp can be right: it is the row's created_at in whole milliseconds, or the relay's time if that is earlier.
// For a first delivery, the relay's time lies between the commit and the confirmation.
func (j *judge) stamped(at time.Time, row int) bool {
	r := &j.Rows[row]
	created := r.Created.Truncate(time.Millisecond)
	early := minTime(created, r.Committed.Add(-j.Skew).Truncate(time.Millisecond))
	late := created
	if gone := j.gone[row]; !gone.IsZero() && j.first[row] == nil {
		late = minTime(created, gone.Add(j.Skew))
	}
	return !at.Before(early) && !at.After(late)
}

// again records that a row was delivered twice.
func (j *judge) again(one, other *Record) {
	j.moved[one.ID] = j.moved[one.ID] || one.place() != other.place()
	if one.Appended.IsZero() { // the fault is unknown
		return
	}
	at := maxTime(one.Appended, other.Appended) // partitions are read in any order
	span := j.at(at)
	j.tallies[span].Again++
	if !j.Spans[span].Repeats {
		j.tallies[span].Repeated++
		j.find(at, "repeated", "%s and %s: the same row", one, other)
	}
}

// place is a partition of one generation of its topic.
type place struct {
	topic      string
	partition  int32
	generation int
}

func (r *Record) place() place { return place{r.Topic, r.Partition, r.Generation} }

// before reports whether a record was appended before another one of the same row.
func (r *Record) before(o *Record) bool {
	if r.Generation != o.Generation {
		return r.Generation < o.Generation
	}
	if r.Partition == o.Partition {
		return r.Offset < o.Offset
	}
	return r.Appended.Before(o.Appended)
}

func (r *Record) String() string {
	return fmt.Sprintf("%s/%d@%d %s %s", r.Topic, r.Partition, r.Offset, r.ID, r.Appended.Format("15:04:05.000"))
}

func (r *Row) String() string {
	return fmt.Sprintf("%s key %s of %s, committed %s at %X", r.ID, r.Key, r.Topic, r.Committed.Format("15:04:05.000000"), r.Commit)
}

// exempt reports whether a row may be gone with a deleted topic.
func (j *judge) exempt(r *Row) bool {
	for _, p := range j.Purges {
		if p.Topic == r.Topic && r.Commit >= p.Confirmed && r.Committed.Before(p.Gone) {
			return true
		}
	}
	return false
}

func (j *judge) rows() {
	for i := range j.Rows {
		r := &j.Rows[i]
		t := j.tally(r.Committed)
		t.Committed++
		switch {
		case j.first[i] != nil:
			t.Delivered++
		case r.Discarded:
		case j.exempt(r):
			t.Exempt++
		default:
			at := maxTime(r.Committed, j.gone[i])
			j.tally(at).Lost++
			j.find(at, "lost", "%s", r)
		}
	}
}

// order compares the order of first deliveries with the commit order. It does so within each partition, whatever the keys, for rows that
// were not parked, while nothing is refused. For a key that moved to another partition, of which something was parked, or that came while
// something was refused, it compares the records of each row with those of the key's row before.
func (j *judge) order() {
	newest := make(map[place]int)
	for i := range j.Records {
		r := &j.Records[i]
		row, known := j.byID[r.ID]
		if !known || j.first[row] != r || j.exempt(&j.Rows[row]) || !j.Rows[row].Parked.IsZero() {
			continue
		}
		if later, any := newest[r.place()]; any && row < later {
			if !j.refused(row) {
				j.disordered(later, row)
			}
			continue
		}
		newest[r.place()] = row
	}
	last := make(map[[2]string]int)
	for i := range j.Rows {
		r := &j.Rows[i]
		if j.first[i] == nil || r.Key == "" || j.exempt(r) {
			continue
		}
		key := [2]string{r.Topic, r.Key}
		if earlier, any := last[key]; any && j.first[i].before(j.first[earlier]) {
			parked := !r.Parked.IsZero() || !j.Rows[earlier].Parked.IsZero()
			if parked || j.refused(earlier) || j.first[i].place() != j.first[earlier].place() {
				j.disordered(i, earlier)
			}
		}
		last[key] = i
	}
}

// refused reports whether events were refused when a row was first delivered. Then it may have waited behind one of its key, and a relay that
// is killed meanwhile leaves no dead letter of it.
func (j *judge) refused(row int) bool { return j.Spans[j.at(j.when(j.first[row]))].Refuses }

// disordered records that a row was delivered before an earlier one.
func (j *judge) disordered(row, earlier int) {
	at := j.when(j.first[row])
	j.tally(at).Disordered++
	j.find(at, "disordered", "%s\n\tfirst at %s\n\tbefore the earlier %s\n\tfirst at %s", &j.Rows[row], j.first[row], &j.Rows[earlier], j.first[earlier])
}

// ahead compares the first time at which a row was confirmed with the time at which the brokers had it. It also looks for positions that the
// server cannot have: WAL records start and end at multiples of 8.
func (j *judge) ahead() {
	for i := range j.Rows {
		r := &j.Rows[i]
		if j.gone[i].IsZero() {
			break
		}
		if !r.Parked.IsZero() && !r.Parked.After(j.gone[i]) || !r.Blocked.IsZero() && !r.Blocked.After(j.gone[i]) {
			continue
		}
		if f := j.first[i]; !j.exempt(r) && (f == nil || f.Appended.After(j.gone[i])) {
			j.tally(j.gone[i]).Ahead++
			j.find(j.gone[i], "ahead", "%s: confirmed at %s, first at %v", r, j.gone[i].Format("15:04:05.000000"), f)
		}
	}
	for i, s := range j.Samples {
		if s.Confirmed%8 != 0 && (i == 0 || s.Confirmed != j.Samples[i-1].Confirmed) {
			j.tally(s.At).Ahead++
			j.find(s.At, "ahead", "confirmed %X: the server has no such position", s.Confirmed)
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Explain returns the findings as text, each with its fault.
func Explain(spans []Span, findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s under fault %d (%s): %s\n", f.What, f.Span, spans[f.Span].Fault, f.Text)
	}
	return b.String()
}
