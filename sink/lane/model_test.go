package lane

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"walpost/internal/testenv/long"
	"walpost/sink/recordbatch"
)

var replay = flag.Int("journey", -1, "play only the lane's journey of this number, and print its history")

// TestLaneKeepsItsPromises plays journeys. Each brings the lane's head through one cell, that is one combination of what can happen to it,
// in a random order and with other random acts. More random acts follow. Journey n is the same in every run.
func TestLaneKeepsItsPromises(t *testing.T) {
	encoders := [2]*recordbatch.Encoder{plain(t), gzip(t)}
	cells := possibleCells()
	if *replay >= 0 {
		r := play(drawScript(*replay, cells), encoders)
		t.Logf("journey %d\n%s\n%s", *replay, strings.Join(r.history, "\n"), r.broken)
		if r.broken != "" {
			t.Fail()
		}
		return
	}
	rounds := long.Or(4, 16)
	met := map[cell]int{}
	rejected, unseen := 0, 0
	for n := range rounds * len(cells) {
		s := drawScript(n, cells)
		r := play(s, encoders)
		if r.broken != "" {
			t.Fatalf("go test ./sink/lane -run %s -journey %d\n%s", t.Name(), n, shrink(s, encoders))
		}
		for c, times := range r.met {
			met[c] += times
		}
		if r.rejected > 0 {
			rejected++
		}
		if len(r.leaked) > 0 {
			unseen++
		}
	}
	least := len(cells)
	for _, c := range cells {
		if met[c] == 0 {
			t.Errorf("no journey met: %v", c)
		}
		least = min(least, met[c])
	}
	t.Logf("%d journeys: each of %d cells was met %d times or more; in %d an event was rejected, in %d some got into the log unseen",
		rounds*len(cells), len(cells), least, rejected, unseen)
}

// end lets everything come to rest and checks the log.
func (j *journey) end() {
	j.tell("all is well from here on")
	j.partition.Limit = max(j.partition.Limit, restLimit)
	for n := 0; j.queued; n++ {
		if j.send(fate{}); n > 10_000 {
			j.failf("the lane does not come to rest")
		}
	}
	for len(j.delayed) > 0 {
		j.arrive(false)
	}
	j.partition.Replicate()
	if j.rejected == 0 && j.acked != j.tx {
		j.failf("%d events of %d acked", j.acked, j.tx)
	}
	j.readLog()
}

// readLog reads like a consumer. Each event must come, in order. An event may come again only if the lane could not know that it had
// arrived.
func (j *journey) readLog() {
	type origin struct {
		producer int64
		memory   int
	}
	highest, from := uint64(0), map[uint64][]origin{}
	for i, s := range j.partition.Seen {
		o := origin{s.Producer, s.Memory}
		switch {
		case s.Event == 0: // somebody else's
			continue
		case s.Event == highest+1:
			highest = s.Event
			if j.rejected > 0 && s.Event >= j.rejected && !j.leaked[s.Event] {
				j.failf("event %d is in the log although %d was rejected", s.Event, j.rejected)
			}
		case s.Event > highest:
			j.failf("record %d: event %d, its predecessors up to %d alone being there", i, s.Event, highest)
		case !j.leaked[s.Event]:
			j.failf("record %d: event %d a second time, although the lane knew what became of it", i, s.Event)
		case slices.Contains(from[s.Event], o):
			j.failf("record %d: event %d a second time by producer %d, which the broker had not forgotten", i, s.Event, s.Producer)
		}
		from[s.Event] = append(from[s.Event], o)
	}
	if highest < j.acked {
		j.failf("the log ends with event %d, %d was acked", highest, j.acked)
	}
}
