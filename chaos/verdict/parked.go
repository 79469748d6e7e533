package verdict

import "time"

// flowing is how long events of a key may still be parked after everything before them was released or discarded.
const flowing = 15 * time.Second

// parked judges what was parked: the brokers refused each row, or an earlier row of its topic and key was parked at that time.
func (j *judge) parked() {
	type key struct{ topic, key string }
	until := make(map[key]time.Time) // when everything before had left the table
	for i := range j.Rows {
		r := &j.Rows[i]
		if !r.Blocked.IsZero() && !j.wasBlocked(r) {
			j.tally(r.Blocked).Held++
			j.find(r.Blocked, "held", "%s: it waited for its topic, which took records", r)
		}
		if r.Parked.IsZero() {
			if !r.Blocked.IsZero() {
				j.tally(r.Blocked).Parked++
			}
			continue
		}
		t := j.tally(r.Parked)
		t.Parked++
		if r.Discarded {
			t.Discarded++
		}
		k := key{r.Topic, r.Key}
		last, any := until[k]
		switch {
		case !r.Waited && !j.wasRefused(r):
			j.held(r, "parked, and the brokers did not refuse it")
		case r.Waited && (r.Key == "" || !any):
			j.held(r, "parked behind nothing")
		case r.Waited && last.Add(flowing).Before(r.Committed):
			j.held(r, "parked, and everything of its key was given back at "+last.Format("15:04:05.000"))
		}
		until[k] = maxTime(last, r.Settled)
	}
}

func (j *judge) held(r *Row, why string) {
	j.tally(r.Parked).Held++
	j.find(r.Parked, "held", "%s: %s", r, why)
}

// drained is for how long events of a topic may still be parked after it takes records again, or was created again.
const drained = time.Minute

// wasBlocked reports whether the topic of a row may have taken no records when the row was parked for that reason.
func (j *judge) wasBlocked(r *Row) bool {
	for _, b := range j.Blocked {
		if b.Topic == r.Topic && !r.Blocked.Before(b.From) && r.Blocked.Before(b.End.Add(drained)) {
			return true
		}
	}
	for _, p := range j.Purges {
		if p.Topic == r.Topic && r.Blocked.After(p.Gone.Add(-drained)) && r.Blocked.Before(p.Gone.Add(drained)) {
			return true
		}
	}
	for i := range j.Refusals {
		// The topic may have refused everything for a while. Then its events wait until it has taken one.
		if f := &j.Refusals[i]; f.Topic == r.Topic && !f.Begin.After(r.Blocked) && (f.End.IsZero() || r.Blocked.Before(f.End.Add(drained))) {
			return true
		}
	}
	return false
}

// wasRefused reports whether the brokers may have refused a row, when it came or when it was given back.
func (j *judge) wasRefused(r *Row) bool {
	for i := range j.Refusals {
		if f := &j.Refusals[i]; f.fits(r) && f.meets(r.Committed, maxTime(r.Parked, r.Settled)) {
			return true
		}
	}
	return false
}

// fits reports whether a refusal may be of a row.
func (f *Refusal) fits(r *Row) bool {
	return f.Topic == r.Topic && f.Reason == r.Reason && (f.Larger == 0 || r.Bytes > f.Larger) && (!f.Keyless || r.Key == "") && (f.Older == 0 || r.Created.Add(f.Older).Before(r.Committed))
}

// meets reports whether the brokers refused events at some time between two.
func (f *Refusal) meets(from, to time.Time) bool {
	return !f.Begin.After(to) && (f.End.IsZero() || !f.End.Before(from))
}

// overtaken finds rows that were published, and parked later, while the brokers refused nothing in between. So a relay parks that has lost
// its slot to another one.
func (j *judge) overtaken() {
	told := make(map[string]bool)
	for i := range j.Records {
		r := &j.Records[i]
		n, known := j.byID[r.ID]
		if !known || r.Replayed || r.Appended.IsZero() || told[r.ID] {
			continue
		}
		row := &j.Rows[n]
		if row.Parked.IsZero() || !r.Appended.Before(row.Parked) {
			continue
		}
		refused := false
		for k := range j.Refusals {
			refused = refused || j.Refusals[k].Topic == row.Topic && j.Refusals[k].meets(r.Appended, row.Parked)
		}
		if !refused {
			told[r.ID] = true
			j.held(row, "parked at "+row.Parked.Format("15:04:05.000")+", after it was published as "+r.String())
		}
	}
}

// discarded finds records of rows that had been given up, and rows that were released without a record.
func (j *judge) discarded() {
	replayed := make(map[string]bool)
	for i := range j.Records {
		r := &j.Records[i]
		n, known := j.byID[r.ID]
		if !known {
			continue
		}
		replayed[r.ID] = replayed[r.ID] || r.Replayed
		if row := &j.Rows[n]; row.Discarded && (r.Replayed || r.Appended.After(row.Settled)) {
			j.tally(j.when(r)).Revived++
			j.find(j.when(r), "revived", "%s: it was discarded at %s", r, row.Settled.Format("15:04:05.000"))
		}
	}
	for i := range j.Rows {
		if r := &j.Rows[i]; r.Released && !replayed[r.ID] && !j.exempt(r) {
			j.tally(r.Settled).Lost++
			j.find(r.Settled, "lost", "%s: its dead letter says that it was published, and no record came from there", r)
		}
	}
}
