package lane

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"walpost/sink/recordbatch"
)

// shrink drops acts of a script, and events that it publishes, as long as a promise is still broken. It returns the history of the rest.
func shrink(s *script, encoders [2]*recordbatch.Encoder) string {
	breaks := func(acts []act) bool {
		shorter := *s
		shorter.acts = acts
		return play(&shorter, encoders).broken != ""
	}
	acts := slices.Clone(s.acts)
	for size := len(acts) / 2; size > 0; {
		dropped := false
		for at := 0; at < len(acts); {
			if fewer := slices.Delete(slices.Clone(acts), at, min(at+size, len(acts))); breaks(fewer) {
				acts, dropped = fewer, true
			} else {
				at += size
			}
		}
		if !dropped {
			size /= 2
		}
	}
	for i := range acts {
		for n := 1; n < acts[i].n && acts[i].kind == publishing; n++ {
			fewer := slices.Clone(acts)
			if fewer[i].n = n; breaks(fewer) {
				acts = fewer
			}
		}
	}
	shorter := *s
	shorter.acts = acts
	r := play(&shorter, encoders)
	const most = 60 // a lane that does not come to rest has a long history
	if n := len(r.history); n > most {
		r.history = append(r.history[:most], fmt.Sprintf("and so on, %d lines", n-most))
	}
	return fmt.Sprintf("%d acts of %d are left:\n%s\n%s", len(acts), len(s.acts), strings.Join(r.history, "\n"), r.broken)
}

// A broker that acks before its follower has the batch breaks a promise when the leader moves. The journeys find that, and shrink to a
// short history, because it takes few acts.
func TestJourneysFindAndShrink(t *testing.T) {
	encoders, cells := [2]*recordbatch.Encoder{plain(t), gzip(t)}, possibleCells()
	for n := range 1000 {
		s := drawScript(n, cells)
		s.unsafe = true
		for i := range s.acts {
			s.acts[i].stranded = true
		}
		if play(s, encoders).broken == "" {
			continue
		}
		told := shrink(s, encoders)
		t.Log(told)
		if !strings.Contains(told, "was acked and no consumer can read it") || strings.Count(told, "\n") > 8 {
			t.Error("this is not the shortest way to an acked event that nobody can read")
		}
		return
	}
	t.Error("no journey found that acks come before the follower has the batch")
}
