package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"walpost/internal/kafkatest"
	"walpost/internal/latencytrace"
	"walpost/internal/pgtest"
	"walpost/internal/testenv/child"
	"walpost/internal/testenv/program"
)

// A short run of everything: the load, two variants, parked keys, the trace, and the printed tables.
func TestLatency(t *testing.T) {
	if cpuModel() == "" || busy() == 0 {
		t.Skip("this system has no /proc")
	}
	const rate = 200
	r := &rig{
		options: options{rounds: 1, partitions: 3, rates: []int{rate}, variants: []string{"default", "linger5"}, trace: true, parked: 20, lasting: time.Second / 2},
		brokers: kafkatest.Brokers(t), prefix: kafkatest.Name(t),
		database: func(context.Context, string) (string, error) { return pgtest.New(t).DSN, nil },
	}
	var err error
	if r.home, err = child.NewHome("walpost-bench-", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.home.Close(); err != nil {
			t.Error(err)
		}
	})
	r.walpost = r.home.Path("walpost")
	if err := program.BuildRelease(t.Context(), r.walpost); err != nil {
		t.Fatal(err)
	}
	all, err := r.latencies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all[0].Arms {
		l := a.Runs[0]
		if l.Commits != rate/2 || l.Seen.P50 <= 0 || l.Intended.P50 < l.Seen.P50 || l.Seen.Max < l.Seen.P99 {
			t.Errorf("%s: %+v", a.Arm, l)
		}
		// The first and the last events of a second may be counted or not.
		if l.Requests < 1 || l.Events < rate/4 || l.Events > rate {
			t.Errorf("%s: %v requests with %v events for %d commits", a.Arm, l.Requests, l.Events, rate)
		}
		g := a.Stages.Groups[0]
		if g.Deliveries != rate/2 || g.Median[stageBroker] <= 0 || len(a.Stages.Slowest) != 10 {
			t.Errorf("%s: %+v", a.Arm, g)
		}
		if lingered := g.Facts["% lane waited for a linger"]; (lingered > 50) != (a.Arm == "linger5") {
			t.Errorf("%s: %v %% of deliveries waited for a linger", a.Arm, lingered)
		}
	}
	var text strings.Builder
	report{Latency: all}.print(&text)
	for _, part := range []string{"Latency at 200 single-row commits a second: ", "since COMMIT returned", "default, 20 keys parked compared with default, pair by pair", "parked compared with linger5", "Stages of linger5 at 200/s", "handed over → queued"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("the output has no %q:\n%s", part, &text)
		}
	}
}

func TestVariant(t *testing.T) {
	for name, want := range map[string][]string{
		"default":                           nil,
		"linger5":                           {"WALPOST_KAFKA_LINGER_MS=5"},
		"linger.ms=1+compression.type=none": {"WALPOST_KAFKA_LINGER_MS=1", "WALPOST_KAFKA_COMPRESSION_TYPE=none"},
	} {
		if env, err := variant(name); err != nil || !slices.Equal(env, want) {
			t.Errorf("%s: %q, error %v", name, env, err)
		}
	}
	for _, name := range []string{"", "lingerX", "linger.ms"} {
		if env, err := variant(name); err == nil {
			t.Errorf("%q: %q", name, env)
		}
	}
}

// In as many rounds as there are arms, each arm is once at each place.
func TestRotated(t *testing.T) {
	all := make([]arm, 3)
	for place := range all {
		var there []int
		for round := range all {
			there = append(there, rotated(all, round)[place])
		}
		if slices.Sort(there); !slices.Equal(there, []int{0, 1, 2}) {
			t.Errorf("place %d: %v", place, there)
		}
	}
}

func TestRates(t *testing.T) {
	if got, err := parseRates("50,1000"); err != nil || !slices.Equal(got, []int{50, 1000}) {
		t.Errorf("%v, error %v", got, err)
	}
	if got, err := parseRates(""); err != nil || got != nil {
		t.Errorf("none: %v, error %v", got, err)
	}
	for _, text := range []string{"x", "0", "50,", "-1"} {
		if got, err := parseRates(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// after returns the moment that is ms milliseconds after the commit.
func after(ms int) time.Time { return time.UnixMilli(1_800_000_000_000 + int64(ms)) }

// way returns a trace of two transactions in one pass, of which the second waits for the request of the first, and the bench's own
// observations of them.
func way() (*latencytrace.Trace, []stamps) {
	pass := latencytrace.Pass{First: 0, Last: 1, Events: 2, Reads: 3, Began: after(4), Read: after(5), HandedOver: after(8), MarkAtBegin: true}
	t := &latencytrace.Trace{
		Sessions:     1,
		Transactions: []latencytrace.Transaction{{Tx: 0, LSN: 100, Committed: after(0), Sent: after(3), Decoded: after(6)}, {Tx: 1, LSN: 200, Committed: after(0), Sent: after(4), Decoded: after(7)}},
		Passes:       []latencytrace.Pass{pass, {First: 2, Last: 2, Events: 1}},
		Requests: []latencytrace.Request{
			{Woken: after(10), Sent: after(12), Written: after(13), Answered: after(20), Settled: after(21), Parts: []latencytrace.Part{{Queue: latencytrace.Queue{At: after(9)}, Sealed: after(11), Txs: []uint64{0}}}},
			{Answered: after(30), Failed: true, Parts: []latencytrace.Part{{Txs: []uint64{1}}}}, // sent again below
			{Woken: after(50), Sent: after(52), Answered: after(60), Settled: after(61), UnderWay: 2, Parts: []latencytrace.Part{
				{Queue: latencytrace.Queue{At: after(40), Behind: true, UnderWay: 1}, Sealed: after(51), Txs: []uint64{1}}}},
		},
	}
	return t, []stamps{{intended: after(-2), committed: after(1), seen: after(19), lsn: 100}, {intended: after(-2), committed: after(2), seen: after(70), lsn: 200}}
}

func TestJoin(t *testing.T) {
	trace, all := way()
	got, err := join(trace, &walsenderWatch{}, all)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][stages]int{{3, 2, 1, 2, 1, 1, 1, 2, 8, -2}, {4, 1, 2, 1, 32, 10, 1, 1, 9, 9}} {
		for stage, ms := range want {
			if took := got[i].Took[stage]; took != time.Duration(ms)*time.Millisecond {
				t.Errorf("row %d: %s: %v, want %d ms", i, stageNames[stage], took, ms)
			}
		}
		if total := all[i].seen.Sub(after(0)); got[i].total() != total {
			t.Errorf("row %d: %v in all, want %v", i, got[i].total(), total)
		}
	}
	first, second := got[0], got[1]
	if !first.MarkRaised || !first.MarkLifted || !first.ReaderBusy || first.LaneBusy || first.PassEvents != 2 || first.Returned != time.Millisecond {
		t.Errorf("%+v", first)
	}
	if second.ReaderBusy || !second.LaneBusy || second.AtQueue != 1 || second.AtSend != 2 {
		t.Errorf("%+v", second)
	}
}

// A trace that does not cover all deliveries is an error.
func TestJoinRefusesGaps(t *testing.T) {
	for name, spoil := range map[string]func(*latencytrace.Trace){
		"another session": func(t *latencytrace.Trace) { t.Sessions = 2 },
		"lost records":    func(t *latencytrace.Trace) { t.Lost = 1 },
		"no transaction":  func(t *latencytrace.Trace) { t.Transactions = t.Transactions[:1] },
		"no pass":         func(t *latencytrace.Trace) { t.Passes = t.Passes[1:] },
		"no request":      func(t *latencytrace.Trace) { t.Requests = t.Requests[:2] },
	} {
		trace, all := way()
		spoil(trace)
		if got, err := join(trace, &walsenderWatch{}, all); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// between uses the samples around the period.
func TestWalsenderWatch(t *testing.T) {
	w := &walsenderWatch{}
	for ms := range 100 {
		w.times = append(w.times, timed[schedule]{after(ms), schedule{ran: time.Duration(ms) * time.Microsecond, waited: time.Duration(max(0, ms-50)) * time.Millisecond}})
		event := ""
		if ms >= 20 {
			event = map[bool]string{true: "WalSenderMain", false: "SnapbuildSync"}[ms%3 == 0]
		}
		w.events = append(w.events, timed[string]{after(ms), event})
	}
	for _, test := range []struct {
		from, to int
		want     schedule
		event    string
	}{
		{5, 15, schedule{ran: 11 * time.Microsecond}, ""},
		{20, 40, schedule{ran: 21 * time.Microsecond}, "SnapbuildSync"},
		{60, 70, schedule{ran: 11 * time.Microsecond, waited: 10 * time.Millisecond}, "SnapbuildSync"},
		{-9, -5, schedule{ran: time.Microsecond}, ""},
		{200, 210, schedule{}, ""},
	} {
		if got, event := w.between(after(test.from), after(test.to)); got != test.want || event != test.event {
			t.Errorf("%d to %d ms: %v, %q; want %v, %q", test.from, test.to, got, event, test.want, test.event)
		}
	}
	if waitedForCPU(1) < 0 {
		t.Error("a negative time")
	}
	for _, text := range []string{"", "1", "a b c"} {
		if s, err := parseSchedule([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, s)
		}
	}
}

// Slow deliveries that overlap are one stretch.
func TestStretches(t *testing.T) {
	slow := func(at, took int, s stage) delivery {
		d := delivery{Committed: after(at)}
		d.Took[s] = time.Duration(took) * time.Millisecond
		return d
	}
	got := stretches([]delivery{slow(1000, 20, stageLane), slow(10, 15, stageWAL), slow(20, 30, stageBroker), slow(51, 11, stageSocket)})
	want := []stretch{
		{Begin: after(10), Length: 40 * time.Millisecond, Deliveries: 2, Longest: stageBroker, slowest: 30 * time.Millisecond},
		{Begin: after(51), Length: 11 * time.Millisecond, Deliveries: 1, Longest: stageSocket, slowest: 11 * time.Millisecond},
		{Begin: after(1000), Length: 20 * time.Millisecond, Deliveries: 1, Longest: stageLane, slowest: 20 * time.Millisecond},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestStageReport(t *testing.T) {
	var all []delivery
	for i := range 100 {
		d := delivery{MarkRaised: i >= 95}
		d.Took[stageDecode] = time.Duration(i) * time.Millisecond / 10
		if i >= 95 {
			d.Took[stageSocket] = 12 * time.Millisecond
		}
		if i == 0 { // slow, and only because of the walsender
			d.Took[stageWAL] = 20 * time.Millisecond
		}
		all = append([]delivery{d}, all...)
	}
	r := reportStages(all)
	const raised = "% low-water mark raised while it was waited for"
	for i, want := range []struct {
		deliveries, longest, raised int
	}{{100, 5, 5}, {10, 5, 50}, {6, 5, 83}, {5, 5, 100}} {
		g := r.Groups[i]
		if g.Deliveries != want.deliveries || g.Longest[stageSocket] != want.longest || int(g.Facts[raised]) != want.raised {
			t.Errorf("%s: %d deliveries, %d longest in the socket, %v raised; want %+v", g.Name, g.Deliveries, g.Longest[stageSocket], g.Facts[raised], want)
		}
	}
	if len(r.Slowest) != 10 || r.Slowest[0].total() != 21900*time.Microsecond {
		t.Errorf("the slowest of %d: %v", len(r.Slowest), r.Slowest[0].total())
	}
	if reportStages(nil) != nil {
		t.Error("a report without deliveries")
	}
}
