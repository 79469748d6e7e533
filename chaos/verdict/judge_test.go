package verdict_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"walpost/chaos/verdict"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }

// sound returns a history without errors: row n is committed at n·10 ms and appended 5 ms later. Odd rows have key a, even ones b. The second
// fault begins with row 4. Rows 2 and 3 are delivered again, as a run.
func sound() verdict.History {
	h := verdict.History{Spans: []verdict.Span{{Fault: "none", Begin: begin}, {Fault: "kill", Begin: at(40), Repeats: true, Dead: 1}}}
	for n := range 8 {
		id := string(rune('0' + n))
		h.Rows = append(h.Rows, verdict.Row{ID: id, Topic: "t", Key: []string{"b", "a"}[n%2], Created: at(10 * n), Committed: at(10 * n),
			Commit: uint64(800*n + 720)})
		if n == 4 {
			h.Records = append(h.Records, record("2", 4, 42), record("3", 5, 43))
		}
		offset := int64(len(h.Records))
		h.Records = append(h.Records, record(id, offset, 10*n+5))
		h.Samples = append(h.Samples, verdict.Sample{At: at(10*n + 8), Confirmed: uint64(800 * (n + 1))})
	}
	h.Claims = []verdict.Claim{{IDs: []string{"0", "1"}, Committed: true}, {IDs: []string{"undone"}}}
	return h
}

func record(id string, offset int64, ms int) verdict.Record {
	return verdict.Record{ID: id, Topic: "t", Offset: offset, Appended: at(ms)}
}

func TestSoundHistory(t *testing.T) {
	tallies, findings := verdict.Judge(sound())
	if len(findings) > 0 {
		t.Error(verdict.Explain(sound().Spans, findings))
	}
	// A broker's time is cut to milliseconds, so a stall counts one more.
	want := []verdict.Tally{{Committed: 4, Delivered: 4, Stall: 6 * time.Millisecond}, {Committed: 4, Delivered: 4, Again: 2, Stall: 6 * time.Millisecond}}
	if !slices.Equal(tallies, want) {
		t.Errorf("%+v, want %+v", tallies, want)
	}
}

// released returns a history in which row 4 was refused and row 6 waited behind it. Both are published in the end.
func released() verdict.History {
	h := sound()
	h.Refusals = []verdict.Refusal{{Topic: "t", Reason: "refused", Begin: at(39), End: at(70)}}
	for i, n := range []int{4, 6} {
		r := &h.Rows[n]
		r.Parked, r.Settled, r.Reason, r.Released = at(10*n+2), at(92+i), "refused", true
		if n == 6 {
			r.Reason, r.Waited = "key_parked", true
		}
	}
	late := []verdict.Record{h.Records[6], h.Records[8]}
	h.Records = []verdict.Record{h.Records[0], h.Records[1], h.Records[2], h.Records[3], h.Records[4], h.Records[5], h.Records[7], h.Records[9]}
	for i := range late {
		late[i].Replayed, late[i].Appended, late[i].Offset = true, at(90+i), int64(10+i)
	}
	h.Records = append(h.Records, late...)
	return h
}

// A key that was parked comes late, in order, and is no error.
func TestParkedAndReleased(t *testing.T) {
	h := released()
	if _, findings := verdict.Judge(h); len(findings) > 0 {
		t.Error(verdict.Explain(h.Spans, findings))
	}
	// People give up row 4. Row 6 still comes.
	h.Rows[4].Released, h.Rows[4].Discarded = false, true
	h.Records = slices.Delete(h.Records, 8, 9)
	tallies, findings := verdict.Judge(h)
	if len(findings) > 0 || tallies[1].Discarded != 1 || tallies[1].Parked != 2 || tallies[1].Delivered != 3 {
		t.Errorf("%+v\n%s", tallies, verdict.Explain(h.Spans, findings))
	}
}

// Each history with parked rows has one error, and Judge finds it.
func TestEachErrorOfParkingIsFound(t *testing.T) {
	held := func(t verdict.Tally) int { return t.Held }
	for name, test := range map[string]struct {
		spoil func(h *verdict.History)
		what  string
		count func(verdict.Tally) int
		text  string
	}{
		"nothing refused it":            {func(h *verdict.History) { h.Refusals = nil }, "held", held, "4 key b of t"},
		"refused later":                 {func(h *verdict.History) { h.Refusals[0].Begin = at(95) }, "held", held, "did not refuse it"},
		"refused before it came":        {func(h *verdict.History) { h.Refusals[0].End = at(39) }, "held", held, "did not refuse it"},
		"another topic refused":         {func(h *verdict.History) { h.Refusals[0].Topic = "u" }, "held", held, "did not refuse it"},
		"another reason":                {func(h *verdict.History) { h.Rows[4].Reason = "invalid_record" }, "held", held, "did not refuse it"},
		"too small to be refused":       {func(h *verdict.History) { h.Rows[4].Bytes, h.Refusals[0].Larger = 100, 100 }, "held", held, "did not refuse it"},
		"it has a key":                  {func(h *verdict.History) { h.Refusals[0].Keyless = true }, "held", held, "did not refuse it"},
		"not old":                       {func(h *verdict.History) { h.Refusals[0].Older = time.Minute }, "held", held, "did not refuse it"},
		"without a key, behind another": {func(h *verdict.History) { h.Rows[4].Key, h.Rows[6].Key = "", "" }, "held", held, "6 key  of t"},
		"behind another key":            {func(h *verdict.History) { h.Rows[4].Key = "c" }, "held", held, "parked behind nothing"},
		"its key never flowed again":    {func(h *verdict.History) { h.Rows[4].Settled = at(60).Add(-time.Minute) }, "held", held, "was given back at"},
		"released, and never published": {func(h *verdict.History) { h.Records[9].Replayed = false }, "lost", func(t verdict.Tally) int { return t.Lost }, "6 key b of t"},
		"discarded, and published":      {func(h *verdict.History) { h.Rows[6].Released, h.Rows[6].Discarded = false, true }, "revived", func(t verdict.Tally) int { return t.Revived }, "t/0@11 6"},
		"given back in the wrong order": {func(h *verdict.History) { h.Records[8].ID, h.Records[9].ID = "6", "4" }, "disordered", func(t verdict.Tally) int { return t.Disordered }, "before the earlier 4"},
		"published, and parked by a relay that had lost its slot": {func(h *verdict.History) {
			h.Records = slices.Insert(h.Records, 6, record("4", 6, 45))
			h.Records[7].Offset, h.Records[8].Offset = 7, 8
			h.Records[9].Offset, h.Records[10].Offset = 10, 11
			h.Rows[4].Parked, h.Refusals[0].End = at(60), at(44)
		}, "held", held, "after it was published as t/0@6 4"},
	} {
		h := released()
		test.spoil(&h)
		tallies, findings := verdict.Judge(h)
		if n := test.count(tallies[1]); n == 0 {
			t.Errorf("%s: not counted", name)
		}
		if !slices.ContainsFunc(findings, func(f verdict.Finding) bool {
			return f.What == test.what && f.Span == 1 && strings.Contains(f.Text, test.text)
		}) {
			t.Errorf("%s: not found in\n%s", name, verdict.Explain(h.Spans, findings))
		}
	}
}

// Each history has one error, and Judge finds just that one, under the right fault.
func TestEachErrorIsFound(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(h *verdict.History)
		span  int
		what  string
		count func(verdict.Tally) int
		want  int
		text  string
	}{
		{"lost", func(h *verdict.History) {
			h.Records = slices.DeleteFunc(h.Records, func(r verdict.Record) bool { return r.ID == "6" })
			h.Samples = h.Samples[:5]
		}, 1, "lost", func(t verdict.Tally) int { return t.Lost }, 1, "6 key b of t"},
		{"lost under the fault in which it was confirmed", func(h *verdict.History) {
			h.Records = slices.DeleteFunc(h.Records, func(r verdict.Record) bool { return r.ID == "3" })
			h.Samples = slices.Delete(h.Samples, 3, 4)
		}, 1, "lost", func(t verdict.Tally) int { return t.Lost }, 1, "3 key a of t"},
		{"uncommitted", func(h *verdict.History) { h.Records = append(h.Records, record("ghost", 10, 80)) },
			1, "uncommitted", func(t verdict.Tally) int { return t.Uncommitted }, 1, "t/0@10 ghost"},
		{"in another topic", func(h *verdict.History) {
			r := record("1", 0, 17)
			r.Topic = "u"
			h.Records = append(h.Records, r)
		}, 0, "uncommitted", func(t verdict.Tally) int { return t.Uncommitted }, 1, "u/0@0 1"},
		{"out of order in a partition", func(h *verdict.History) { // rows 5 and 7 have key a
			h.Records[7].ID, h.Records[9].ID = "7", "5"
			h.Samples = nil
		}, 1, "disordered", func(t verdict.Tally) int { return t.Disordered }, 2, "before the earlier 5"}, // and before 6, of another key
		{"out of order between partitions", func(h *verdict.History) {
			h.Records[9].Partition, h.Records[9].Offset = 1, 0
			h.Records[9].Appended = at(54)
			h.Samples = nil
		}, 1, "disordered", func(t verdict.Tally) int { return t.Disordered }, 1, "before the earlier 5"},
		{"confirmed too early", func(h *verdict.History) { h.Samples[5].At = at(54) },
			1, "ahead", func(t verdict.Tally) int { return t.Ahead }, 1, "5 key a"},
		{"confirmed where its commit begins, but not to its end", func(h *verdict.History) { h.Samples[4].Confirmed = h.Rows[5].Commit + 8 },
			1, "ahead", func(t verdict.Tally) int { return t.Ahead }, 1, "5 key a"},
		{"confirmed what was never written", func(h *verdict.History) { h.Samples[5].Confirmed += 3 },
			1, "ahead", func(t verdict.Tally) int { return t.Ahead }, 1, "confirmed 12C3: the server has no such position"},
		{"confirmed and lost", func(h *verdict.History) {
			h.Records = slices.DeleteFunc(h.Records, func(r verdict.Record) bool { return r.ID == "7" })
			h.Rows = append(h.Rows, h.Rows[7])
		}, 1, "ahead", func(t verdict.Tally) int { return min(t.Ahead, t.Lost, 1) }, 1, "7 key a"},
		{"a run with a gap", func(h *verdict.History) { h.Records[5].ID = "1" }, // 2, 1: the second run stops before the front
			1, "broken run", func(t verdict.Tally) int { return t.Broken }, 1, "a redelivery that left out 2 key b"},
		{"a lone late event", func(h *verdict.History) { h.Records = append(h.Records[:5:5], h.Records[6:]...) },
			1, "broken run", func(t verdict.Tally) int { return t.Broken }, 1, "a redelivery that left out 3 key a"},
		{"a lone late event although nobody died", func(h *verdict.History) {
			h.Records, h.Spans[1].Dead = append(h.Records[:5:5], h.Records[6:]...), 0
		}, 1, "stray run", func(t verdict.Tally) int { return t.Stray }, 1, "a redelivery that left out 3 key a"},
		{"one late event more than relays died", func(h *verdict.History) {
			h.Records = append(append(h.Records[:5:5], h.Records[6:]...), record("1", 10, 80))
		}, 1, "stray run", func(t verdict.Tally) int { return t.Broken - 1 }, 1, "t/0 ends with a redelivery that left out 2"},
		{"backwards", func(h *verdict.History) {
			for i, id := range []string{"7", "6", "5", "4", "3", "2", "2", "3", "4", "5", "6", "7"} {
				h.Records = append(h.Records, record(id, int64(10+i), 80+i))
			}
			h.Spans[1].Dead = 0
		}, 1, "stray run", func(t verdict.Tally) int { return t.Stray }, 2, "in the middle of another"},
		{"again, although nothing ended", func(h *verdict.History) { h.Spans[1].Repeats = false },
			1, "repeated", func(t verdict.Tally) int { return t.Repeated }, 2, "the same row"},
		{"another content", func(h *verdict.History) { h.Records[9].Content = 1 },
			1, "altered", func(t verdict.Tally) int { return t.Altered }, 1, "are not those of 7 key a"},
		{"another partition than the key's", func(h *verdict.History) { h.Records[9].Misplaced = true },
			1, "altered", func(t verdict.Tally) int { return t.Altered }, 1, "its partition is not that of the key of 7 key a"},
		{"a lone late event at the end", func(h *verdict.History) { h.Records = append(h.Records, record("6", 10, 80)) },
			1, "broken run", func(t verdict.Tally) int { return t.Broken }, 1, "t/0 ends with a redelivery that left out 7"},
		{"parked behind nothing", func(h *verdict.History) { h.Rows[6].Parked, h.Rows[6].Waited = at(62), true },
			1, "held", func(t verdict.Tally) int { return t.Held }, 1, "6 key b of t"},
		{"confirmed before it was parked", func(h *verdict.History) {
			h.Refusals = []verdict.Refusal{{Topic: "t", Begin: at(70)}}
			h.Rows[7].Parked, h.Records[9].Replayed, h.Records[9].Appended = at(79), true, at(90)
		}, 1, "ahead", func(t verdict.Tally) int { return t.Ahead }, 1, "7 key a"},
		{"parked and never released", func(h *verdict.History) {
			h.Rows[7].Parked = at(72)
			h.Records = h.Records[:9]
		}, 1, "lost", func(t verdict.Tally) int { return t.Lost }, 1, "7 key a"},
		{"a later event of a parked key was sent", func(h *verdict.History) { // row 5 comes after row 7
			h.Rows[5].Parked = at(52)
			h.Records = append(append(h.Records[:7:7], h.Records[8:]...), h.Records[7])
			h.Records[9].Replayed, h.Records[9].Appended, h.Records[9].Offset = true, at(90), 10
		}, 1, "disordered", func(t verdict.Tally) int { return t.Disordered }, 1, "before the earlier 5"},
		{"out of order in a key, while events are refused", func(h *verdict.History) {
			h.Spans[1].Refuses = true
			h.Records[7].ID, h.Records[9].ID = "7", "5"
			h.Samples = nil
		}, 1, "disordered", func(t verdict.Tally) int { return t.Disordered }, 1, "before the earlier 5"},
		{"undone, the writer says", func(h *verdict.History) { h.Claims = append(h.Claims, verdict.Claim{IDs: []string{"3"}}) },
			0, "claim", func(t verdict.Tally) int { return t.Denied }, 1, "row 3: COMMIT returned: false; in the server's WAL: true"},
		{"committed, the writer says", func(h *verdict.History) {
			h.Claims = append(h.Claims, verdict.Claim{IDs: []string{"9"}, Committed: true})
		},
			0, "claim", func(t verdict.Tally) int { return t.Denied }, 1, "row 9"},
	} {
		h := sound()
		test.spoil(&h)
		tallies, findings := verdict.Judge(h)
		if n := test.count(tallies[test.span]); n != test.want {
			t.Errorf("%s: counted %d, want %d", test.name, n, test.want)
		}
		found := slices.ContainsFunc(findings, func(f verdict.Finding) bool {
			return f.What == test.what && f.Span == test.span && strings.Contains(f.Text, test.text)
		})
		if !found {
			t.Errorf("%s: not found in\n%s", test.name, verdict.Explain(h.Spans, findings))
		}
	}
}

// A relay that lost its slot while it was paused sends what it holds between the events of the other relay. That counts, and is no error.
func TestOvertakenRelay(t *testing.T) {
	h := sound()
	for i, id := range []string{"4", "1", "5", "2", "6"} {
		h.Records = append(h.Records, record(id, int64(10+i), 80+i))
	}
	h.Spans[1].Overtaken = true
	tallies, _ := verdict.Judge(h)
	if tallies[1].Broken < 2 || tallies[1].Broke() {
		t.Errorf("%+v", tallies[1])
	}
	h.Spans[1].Overtaken = false
	if tallies, _ := verdict.Judge(h); tallies[1].Stray == 0 {
		t.Errorf("%+v, although no relay was overtaken", tallies[1])
	}
}

// A topic with the producers' times: they are created_at, or the relay's time if that is earlier.
func TestTimestamps(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, test := range []struct {
		name           string
		created, stamp time.Time // of row 5, which is committed at 50 ms, appended at 55, and confirmed at 58
		skew           time.Duration
		altered        int
	}{
		{"right", at(50), at(50), 0, 0},
		{"in whole milliseconds", at(50).Add(999 * time.Microsecond), at(50), 0, 0},
		{"later", at(50), at(51), 0, 1},
		{"earlier", at(50), at(49), 0, 1},
		{"written long ago", begin.Add(-year), begin.Add(-year), 0, 0},
		{"written long ago, stamped now", begin.Add(-year), at(55), 0, 1},
		{"service ahead", begin.Add(year), at(55), 0, 0},
		{"service ahead, and believed", begin.Add(year), begin.Add(year), 0, 1},
		{"relay behind", at(50), at(52).Add(-time.Hour), time.Hour, 0},
		{"relay further behind", at(50), at(49).Add(-time.Hour), time.Hour, 1},
	} {
		h := sound()
		for i := range h.Records {
			h.Records[i].Stamp, h.Records[i].Appended = begin, time.Time{}
			for _, r := range h.Rows {
				if r.ID == h.Records[i].ID {
					h.Records[i].Stamp = r.Created
				}
			}
		}
		h.Skew, h.Rows[5].Created, h.Records[7].Stamp = test.skew, test.created, test.stamp
		tallies, findings := verdict.Judge(h)
		if tallies[1].Altered != test.altered || len(findings) != test.altered {
			t.Errorf("%s: %+v\n%s", test.name, tallies, verdict.Explain(h.Spans, findings))
		}
	}
}

// An event that is delivered again after its confirmation has the time of the second delivery.
func TestTimestampsOfWhatComesAgain(t *testing.T) {
	h := sound()
	h.Rows[7].Created = at(1000)
	for i := range h.Records {
		h.Records[i].Stamp, h.Records[i].Appended = at(0), time.Time{}
	}
	h.Records, h.Rows, h.Claims = append(h.Records[9:], h.Records[9]), h.Rows[7:], nil
	h.Records[0].Stamp, h.Records[1].Stamp = at(75), at(900)
	if _, findings := verdict.Judge(h); len(findings) > 0 {
		t.Error(verdict.Explain(h.Spans, findings))
	}
	h.Records[0].Stamp = at(900)
	if tallies, _ := verdict.Judge(h); tallies[1].Altered != 1 {
		t.Errorf("%+v, want the first altered", tallies)
	}
}

// When partitions are added, keys move. A redelivery is then divided among the partitions, and each part of it is whole.
func TestRunsOfKeysThatMove(t *testing.T) {
	h := sound()
	h.Records[5].Partition, h.Records[5].Offset = 1, 0 // row 3 is delivered again there, after row 2 was here
	// The order in which the partitions are read has no meaning.
	again := h.Records[5]
	h.Records = slices.Insert(slices.Delete(h.Records, 5, 6), 0, again)
	tallies, findings := verdict.Judge(h)
	if len(findings) > 0 || tallies[0].Again != 0 || tallies[1].Again != 2 {
		t.Errorf("%+v\n%s", tallies, verdict.Explain(h.Spans, findings))
	}
}

// A stall counts for the fault under which the waiting began, and ends with the first append.
func TestLongestStall(t *testing.T) {
	h := sound()
	h.Records[8].Appended, h.Records[9].Appended = at(2000), at(2001) // rows 6 and 7
	h.Samples = nil
	tallies, _ := verdict.Judge(h)
	if tallies[0].Stall != 6*time.Millisecond || tallies[1].Stall != 1941*time.Millisecond {
		t.Errorf("stalls of %v and %v", tallies[0].Stall, tallies[1].Stall)
	}
}

// Rows that are gone with a deleted topic are not lost. Rows that were committed after it was created again have to be there.
func TestTopicCreatedAgain(t *testing.T) {
	h := sound()
	h.Purges = []verdict.Purge{{Topic: "t", Confirmed: 2400, Gone: at(45)}} // rows 3 and 4 are in flight
	old := slices.Clone(h.Records[:3])
	h.Records = h.Records[7:] // rows 5, 6 and 7
	for i := range h.Records {
		h.Records[i].Offset, h.Records[i].Generation = int64(i), 1
	}
	h.Records = append(h.Records, old...)
	tallies, findings := verdict.Judge(h)
	if len(findings) > 0 || tallies[0].Exempt != 1 || tallies[1].Exempt != 1 || tallies[0].Delivered != 3 || tallies[1].Delivered != 3 {
		t.Errorf("%+v\n%s", tallies, verdict.Explain(h.Spans, findings))
	}
	h.Records = h.Records[:len(h.Records)-1] // row 2, which was confirmed before the old topic was read
	if tallies, _ := verdict.Judge(h); tallies[0].Lost != 1 {
		t.Errorf("%+v, want row 2 lost", tallies)
	}
	h.Records = append(h.Records, old[2])
	// Postgres crashed, so the rows in flight are delivered after newer ones. Nobody knows whether that is the first time.
	for i, id := range []string{"3", "4", "5", "6", "7"} {
		again := record(id, int64(3+i), 90)
		again.Generation = 1
		h.Records = append(h.Records, again)
	}
	if tallies, findings := verdict.Judge(h); len(findings) > 0 || tallies[1].Again != 3 {
		t.Errorf("%+v\n%s", tallies, verdict.Explain(h.Spans, findings))
	}
	h.Records = append(h.Records[1:3:3], old...)
	if tallies, _ := verdict.Judge(h); tallies[1].Lost != 1 {
		t.Errorf("%+v, want row 5 lost", tallies)
	}
}

// A row that waited for its topic counts as parked. It counts as wrongly parked if the topic took records.
func TestWaitedForItsTopic(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*verdict.History)
		held   int
	}{
		"it took none": {func(h *verdict.History) {
			h.Blocked = []verdict.Blocked{{Topic: "t", From: at(40), Begin: at(45), End: at(50)}}
		}, 0},
		"before":        {func(h *verdict.History) { h.Blocked = []verdict.Blocked{{Topic: "t", From: at(43), End: at(50)}} }, 1},
		"long after":    {func(h *verdict.History) { h.Blocked = []verdict.Blocked{{Topic: "t", End: at(42 - 60_000)}} }, 1},
		"another topic": {func(h *verdict.History) { h.Blocked = []verdict.Blocked{{Topic: "u", From: at(40), End: at(50)}} }, 1},
		"deleted":       {func(h *verdict.History) { h.Purges = []verdict.Purge{{Topic: "t", Gone: at(41)}} }, 0},
		"other deleted": {func(h *verdict.History) { h.Purges = []verdict.Purge{{Topic: "u", Gone: at(41)}} }, 1},
		"refused":       {func(h *verdict.History) { h.Refusals = []verdict.Refusal{{Topic: "t", Begin: at(41), End: at(45)}} }, 0},
		"refused long before": {func(h *verdict.History) {
			h.Refusals = []verdict.Refusal{{Topic: "t", Begin: at(41 - 90_000), End: at(42 - 60_000)}}
		}, 1},
		"refused before": {func(h *verdict.History) {
			h.Refusals = []verdict.Refusal{{Topic: "t", Begin: at(41 - 90_000), End: at(43 - 60_000)}}
		}, 0},
		"refused later": {func(h *verdict.History) { h.Refusals = []verdict.Refusal{{Topic: "t", Begin: at(43), End: at(45)}} }, 1},
		"nothing":       {func(*verdict.History) {}, 1},
	} {
		h := sound()
		h.Rows[4].Blocked = at(42)
		c.change(&h)
		tallies, findings := verdict.Judge(h)
		if tallies[1].Parked != 1 || tallies[1].Held != c.held {
			t.Errorf("%s: parked %d, held %d, want 1 and %d\n%s", name, tallies[1].Parked, tallies[1].Held, c.held, verdict.Explain(h.Spans, findings))
		}
	}
}

// While a topic is blocked, rows of all others have to arrive within two seconds, and what the fault itself explains.
func TestOthersFlowWhileATopicIsBlocked(t *testing.T) {
	for name, c := range map[string]struct {
		blocked verdict.Blocked
		held    bool
	}{
		"another topic":      {verdict.Blocked{Topic: "u", Begin: at(0), End: at(100)}, true},
		"the topic itself":   {verdict.Blocked{Topic: "t", Begin: at(0), End: at(100)}, false},
		"explained":          {verdict.Blocked{Topic: "u", Begin: at(0), End: at(100), Others: time.Second}, false},
		"committed later":    {verdict.Blocked{Topic: "u", Begin: at(0), End: at(60)}, false},
		"committed before":   {verdict.Blocked{Topic: "u", Begin: at(80), End: at(100)}, false},
		"nothing is blocked": {},
	} {
		h := sound()
		last := len(h.Records) - 1 // of row 7, which was committed at 70
		h.Records[last].Appended = h.Records[last].Appended.Add(2 * time.Second)
		h.Blocked = []verdict.Blocked{c.blocked}
		tallies, findings := verdict.Judge(h)
		if found := slices.ContainsFunc(findings, func(f verdict.Finding) bool { return f.What == "held up" }); found != c.held || (tallies[1].Held > 0) != c.held {
			t.Errorf("%s: found %t, held %d\n%s", name, found, tallies[1].Held, verdict.Explain(h.Spans, findings))
		}
	}
}
