package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"walpost/internal/latencytrace"
	"walpost/internal/testenv/child"
	"walpost/internal/testenv/program"
)

// rated has the measurements at one rate.
type rated struct {
	Wanted int // the requested commits a second
	Rate   int // the commits a second that were measured
	Arms   []armRuns
}

// armRuns are the runs of an arm, one for each round.
type armRuns struct {
	Arm    string
	Runs   []latencies
	Stages *stageReport `json:",omitempty"` // of all runs together
}

// latencies are the times until a consumer had a row, in milliseconds, by one clock, and the resources that were used.
type latencies struct {
	Commits   int
	Seconds   float64   // from the first commit until the last had returned
	Seen      quantiles // since COMMIT returned
	Intended  quantiles // since the moment at which the commit should have begun
	Relay     float64   // CPU seconds a minute
	Broker    float64
	Walsender float64
	Requests  float64    // produce requests with an answer
	Events    float64    // in these requests
	Waited    [3]float64 // seconds a minute that relay, broker and walsender waited for a processor
	PeakRSS   int64
	Foreign   float64
	traced    []delivery
}

// reached returns how many commits a second there were.
func (l *latencies) reached() float64 { return float64(l.Commits) / l.Seconds }

type quantiles struct{ P50, P90, P99, P999, Max float64 }

// settle is how long a relay runs under load before it is measured, after the warm-up of the broker.
const settle = 3 * time.Second

// latencies measures all arms in turns, in as many rounds as requested, at each rate.
func (r *rig) latencies(ctx context.Context) (all []rated, err error) {
	arms, err := r.arms()
	if err != nil {
		return nil, err
	}
	// The first run does not count: a broker that has just started still compiles its code.
	if r.warmUp > 0 {
		progress("latency: warming up for %v", r.warmUp)
		if _, err := r.latency(ctx, arms[0], 1000, 0, r.warmUp); err != nil {
			return nil, err
		}
	}
	for _, wanted := range r.rates {
		one := rated{Wanted: wanted, Arms: make([]armRuns, len(arms))}
		if one.Rate, err = r.reachable(ctx, arms[0], wanted); err != nil {
			return all, err
		}
		for i, a := range arms {
			one.Arms[i].Arm = a.name
		}
		for round := range r.rounds {
			for _, i := range rotated(arms, round) {
				l, err := r.latency(ctx, arms[i], one.Rate, min(settle, r.lasting), r.lasting)
				if err != nil {
					return all, fmt.Errorf("%s at %d/s: %w", arms[i].name, one.Rate, err)
				}
				progress("latency at %d/s: round %d: %s: p50 %.2f, p99 %.2f ms", one.Rate, round+1, arms[i].name, l.Seen.P50, l.Seen.P99)
				one.Arms[i].Runs = append(one.Arms[i].Runs, *l)
			}
		}
		for i := range one.Arms {
			var traced []delivery
			for j := range one.Arms[i].Runs {
				run := &one.Arms[i].Runs[j]
				traced, run.traced = append(traced, run.traced...), nil
			}
			one.Arms[i].Stages = reportStages(traced)
		}
		all = append(all, one)
	}
	return all, nil
}

// reachable returns the rate to measure at. If the load cannot commit as fast as wanted, or the events do not arrive as fast, latencies would
// only show how long the backlog grew. Then four fifths of the rate that was reached are tried, and so on.
func (r *rig) reachable(ctx context.Context, a arm, wanted int) (int, error) {
	for rate := wanted; ; {
		if rate <= certain {
			return rate, nil
		}
		l, err := r.latency(ctx, a, rate, 0, min(trial, r.lasting))
		if err != nil {
			return 0, err
		}
		if l.reached() > .97*float64(rate) && l.Seen.P50 < behind {
			return rate, nil
		}
		next := max(certain, int(.8*l.reached())/100*100)
		progress("latency: %.0f of %d commits a second, median until seen %.0f ms: trying %d", l.reached(), rate, l.Seen.P50, next)
		rate = next
	}
}

// How rates are tried.
const (
	certain = 2000            // rates up to this are not tried first
	trial   = 5 * time.Second // how long a try lasts
	behind  = 50              // a median of so many ms shows that the relay does not keep up
)

// latency measures an arm.
func (r *rig) latency(ctx context.Context, a arm, rate int, before, lasting time.Duration) (*latencies, error) {
	ctx, cancel := context.WithTimeout(ctx, before+lasting+2*time.Minute)
	defer cancel()
	b, err := r.newDatabase(ctx, fmt.Sprintf("bench_latency_%d", r.topics))
	if err != nil {
		return nil, err
	}
	topic, err := r.newTopic(ctx)
	if err != nil {
		return nil, err
	}
	env, file := a.env, ""
	if r.trace {
		file = r.home.Path(topic + ".trace")
		env = append(slices.Clone(env), latencytrace.Variable+"="+file)
	}
	if a.parked > 0 {
		if err := r.parkKeys(ctx, b, baseSlot, topic, a.file, a.env, a.parked); err != nil {
			return nil, err
		}
	}
	relay, err := r.start(a.file, b, baseSlot, topic, env...)
	if err != nil {
		return nil, err
	}
	defer relay.Kill()
	told := func(err error) error { return fmt.Errorf("%w\n%s", err, child.Tail(relay.Log)) }
	walsender, err := b.awaitReader(ctx, baseSlot, relay.Done())
	if err != nil {
		return nil, told(err)
	}
	var watch *walsenderWatch
	if r.trace {
		watch = watchWalsender(ctx, b.dsn, walsender)
		defer watch.end()
	}
	all := make([]stamps, int((before+lasting).Seconds()*float64(rate)))
	first := int(before.Seconds() * float64(rate))
	l, err := r.commitAndConsume(ctx, b, topic, relay, walsender, rate, all, first)
	if err != nil {
		return nil, told(err)
	}
	if watch != nil {
		if err := watch.end(); err != nil {
			return nil, err
		}
	}
	if err := mustPark(ctx, relay, a.parked); err != nil {
		return nil, told(err)
	}
	if err := errors.Join(stop(ctx, relay), b.drop(ctx, baseSlot), b.conn.Close(ctx)); err != nil {
		return nil, err
	}
	if file != "" {
		l.traced, err = readTrace(file, watch, all[first:])
	}
	return l, err
}

// usage has the resources that the three processes have used so far, and what the relay has sent.
type usage struct {
	machine
	relay, broker, walsender time.Duration
	waited                   [3]time.Duration
	requests, events         float64
}

func (r *rig) usage(ctx context.Context, relay *program.Relay, walsender int) (u usage, err error) {
	metrics, err := relay.Metrics(ctx)
	if err != nil {
		return u, err
	}
	for name, value := range metrics {
		switch {
		case name == "walpost_publish_duration_seconds_count":
			u.requests = value
		case strings.HasPrefix(name, "walpost_events_published_total"):
			u.events += value
		}
	}
	broker := childNamed("java")
	u.machine, u.relay, u.broker, u.walsender = look(), cpuOf(relay.PID()), cpuOf(broker), cpuOf(walsender)
	u.waited = [3]time.Duration{waitedForCPU(relay.PID()), waitedForCPU(broker), waitedForCPU(walsender)}
	return u, nil
}

// commitAndConsume commits all rows and records when each was seen. The returned figures count from row first on.
func (r *rig) commitAndConsume(ctx context.Context, b *backlog, topic string, relay *program.Relay, walsender, rate int, all []stamps, first int) (*latencies, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	consumed := make(chan error, 1)
	go func() {
		err := r.consume(ctx, topic, all, relay.Done())
		if err != nil {
			cancel(err)
		}
		consumed <- err
	}()
	type look struct {
		usage
		err error
	}
	begun := make(chan look, 1)
	err := load(ctx, b.dsn, all, rate, func(i int) {
		if i == first {
			go func() { // the relay's answer takes a while, and the load must not wait for it
				u, err := r.usage(ctx, relay, walsender)
				begun <- look{u, err}
			}()
		}
	})
	if err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	to, err := r.usage(ctx, relay, walsender)
	from := <-begun
	if err := errors.Join(err, from.err, <-consumed); err != nil {
		return nil, err
	}
	minutes := to.at.Sub(from.at).Minutes()
	measured := all[first:]
	last := slices.MaxFunc(measured, func(a, b stamps) int { return a.committed.Compare(b.committed) })
	l := &latencies{
		Commits: len(measured), Seconds: last.committed.Sub(measured[0].intended).Seconds(),
		Relay:     (to.relay - from.relay).Seconds() / minutes,
		Broker:    (to.broker - from.broker).Seconds() / minutes,
		Walsender: (to.walsender - from.walsender).Seconds() / minutes,
		Requests:  to.requests - from.requests, Events: to.events - from.events,
		PeakRSS: child.PeakRSS(relay.PID()), Foreign: foreign(from.machine, to.machine),
		Seen:     quantilesOf(measured, func(s stamps) time.Duration { return s.seen.Sub(s.committed) }),
		Intended: quantilesOf(measured, func(s stamps) time.Duration { return s.seen.Sub(s.intended) }),
	}
	for i := range l.Waited {
		l.Waited[i] = max(0, (to.waited[i]-from.waited[i]).Seconds()/minutes) // it is negative if threads have ended
	}
	return l, nil
}

// consume records when each row was seen, until all were. A row that comes
// twice is an error.
func (r *rig) consume(ctx context.Context, topic string, all []stamps, ended <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-ended:
			cancel(errors.New("walpost ended"))
		case <-ctx.Done():
		}
	}()
	c, err := r.newClient(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer c.Close()
	for left := len(all); left > 0; {
		fetches := c.PollFetches(ctx)
		now := time.Now()
		if ctx.Err() != nil {
			return fmt.Errorf("consume: %d of %d rows did not arrive: %w", left, len(all), context.Cause(ctx))
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("consume: %w", err)
		}
		for records := fetches.RecordIter(); !records.Done(); left-- {
			record := records.Next()
			i, err := strconv.Atoi(header(record, "ce_type"))
			if err != nil || i >= len(all) || !all[i].seen.IsZero() {
				return fmt.Errorf("consume row %d of %d: it is unknown, or was seen before (%v)", i, len(all), err)
			}
			all[i].seen = now
			if all[i].lsn, err = commitLSN(header(record, "ce_sequence")); err != nil {
				return err
			}
		}
	}
	return nil
}

// commitLSN returns the commit's LSN in a ce_sequence, which is timeline, LSN and row in hexadecimal digits, joined by "-".
func commitLSN(sequence string) (uint64, error) {
	parts := strings.Split(sequence, "-")
	if len(parts) != 3 {
		return 0, fmt.Errorf("ce_sequence %q: want three parts", sequence)
	}
	return strconv.ParseUint(parts[1], 16, 64)
}

func quantilesOf[T any](all []T, of func(T) time.Duration) quantiles {
	sorted := make([]time.Duration, len(all))
	for i, s := range all {
		sorted[i] = of(s)
	}
	slices.Sort(sorted)
	return quantiles{P50: at(sorted, .5), P90: at(sorted, .9), P99: at(sorted, .99), P999: at(sorted, .999), Max: at(sorted, 1)}
}

// at returns a quantile of sorted durations, in milliseconds; 0 if there are none.
func at(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return milliseconds(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)])
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// readTrace reads a relay's trace and joins it with the bench's own observations. It returns nil if the binary writes no trace.
func readTrace(file string, watch *walsenderWatch, all []stamps) ([]delivery, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	trace, err := latencytrace.Read(f)
	if err != nil {
		return nil, err
	}
	return join(trace, watch, all)
}
