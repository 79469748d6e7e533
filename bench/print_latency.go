package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// print prints the measurements at one rate: medians over the rounds, with the lowest and the highest value.
func (r *rated) print(w io.Writer) {
	first := r.Arms[0].Runs
	fmt.Fprintf(w, "\nLatency at %d single-row commits a second", r.Rate)
	if r.Rate != r.Wanted {
		fmt.Fprintf(w, " (this machine does not reach %d)", r.Wanted)
	}
	fmt.Fprintf(w, ": milliseconds until a consumer has the record, %d commits a round; medians (lowest–highest), rounds in turn: %d\n", first[0].Commits, len(first))
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "since COMMIT returned\tp50\tp90\tp99\tp99.9\tmax\t")
	for _, a := range r.Arms {
		a.quantiles(table, func(l latencies) quantiles { return l.Seen })
	}
	fmt.Fprintln(table, "since the intended start\t\t\t\t\t\t")
	for _, a := range r.Arms {
		a.quantiles(table, func(l latencies) quantiles { return l.Intended })
	}
	table.Flush()

	table = tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "CPU seconds a minute\twalpost\tbroker\twalpost + broker\twalsender\twaited for a processor\tproduce requests\tevents a request\tcommits/s\tpeak RSS MB\tforeign cores\t")
	for _, a := range r.Arms {
		fmt.Fprintf(table, "%s", a.Arm)
		for _, of := range []func(latencies) float64{
			func(l latencies) float64 { return l.Relay },
			func(l latencies) float64 { return l.Broker },
			func(l latencies) float64 { return l.Relay + l.Broker },
			func(l latencies) float64 { return l.Walsender },
		} {
			median, low, high := spread(a.Runs, of)
			fmt.Fprintf(table, "\t%.1f (%.1f–%.1f)", median, low, high)
		}
		median := func(of func(latencies) float64) float64 { m, _, _ := spread(a.Runs, of); return m }
		fmt.Fprintf(table, "\t%.1f, %.1f, –, %.1f", median(func(l latencies) float64 { return l.Waited[0] }), median(func(l latencies) float64 { return l.Waited[1] }),
			median(func(l latencies) float64 { return l.Waited[2] }))
		fmt.Fprintf(table, "\t%.0f\t%.2f\t%.0f\t%.0f\t%.2f\t\n", median(func(l latencies) float64 { return l.Requests }),
			median(func(l latencies) float64 { return l.Events / max(l.Requests, 1) }), median(func(l latencies) float64 { return l.reached() }),
			median(func(l latencies) float64 { return float64(l.PeakRSS >> 20) }), median(func(l latencies) float64 { return l.Foreign }))
	}
	table.Flush()
	for _, a := range r.Arms[1:] {
		fmt.Fprintf(w, "%s compared with %s, pair by pair", r.Arms[0].Arm, a.Arm)
		pairs(w, "p50", first, a.Runs, func(l latencies) float64 { return l.Seen.P50 })
		pairs(w, "p90", first, a.Runs, func(l latencies) float64 { return l.Seen.P90 })
		pairs(w, "p99", first, a.Runs, func(l latencies) float64 { return l.Seen.P99 })
		pairs(w, "CPU of walpost", first, a.Runs, func(l latencies) float64 { return l.Relay })
		pairs(w, "of the broker", first, a.Runs, func(l latencies) float64 { return l.Broker })
		pairs(w, "of both", first, a.Runs, func(l latencies) float64 { return l.Relay + l.Broker })
		pairs(w, "of the walsender", first, a.Runs, func(l latencies) float64 { return l.Walsender })
		fmt.Fprintln(w)
	}
	for _, a := range r.Arms {
		if a.Stages != nil {
			a.Stages.print(w, fmt.Sprintf("%s at %d/s", a.Arm, r.Rate))
		}
	}
}

func (a *armRuns) quantiles(w io.Writer, of func(latencies) quantiles) {
	fmt.Fprintf(w, "%s", a.Arm)
	for _, one := range []func(quantiles) float64{
		func(q quantiles) float64 { return q.P50 }, func(q quantiles) float64 { return q.P90 }, func(q quantiles) float64 { return q.P99 },
		func(q quantiles) float64 { return q.P999 }, func(q quantiles) float64 { return q.Max },
	} {
		median, low, high := spread(a.Runs, func(l latencies) float64 { return one(of(l)) })
		fmt.Fprintf(w, "\t%.2f (%.2f–%.2f)", median, low, high)
	}
	fmt.Fprintln(w, "\t")
}

// print prints how long the stages took.
func (r *stageReport) print(w io.Writer, name string) {
	fmt.Fprintf(w, "\nStages of %s, from Postgres's commit timestamp on, milliseconds: median, 90th percentile, and for how many deliveries this stage was the longest\n", name)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, g := range r.Groups {
		fmt.Fprintf(table, "\t%s: %d\t\t", g.Name, g.Deliveries)
	}
	fmt.Fprintln(table, "\t")
	for i, stage := range stageNames {
		fmt.Fprint(table, stage)
		for _, g := range r.Groups {
			fmt.Fprintf(table, "\t%.2f\t%.2f\t%.0f %%", g.Median[i], g.P90[i], 100*float64(g.Longest[i])/max(1, float64(g.Deliveries)))
		}
		fmt.Fprintln(table, "\t")
	}
	fmt.Fprint(table, "all stages")
	for _, g := range r.Groups {
		fmt.Fprintf(table, "\t%.2f\t%.2f\t", g.Total.P50, g.Total.P90)
	}
	fmt.Fprint(table, "\t\nCOMMIT returned after")
	for _, g := range r.Groups {
		fmt.Fprintf(table, "\t%.2f\t\t", g.Returned)
	}
	fmt.Fprintln(table, "\t")
	for _, f := range facts {
		fmt.Fprint(table, f.name)
		for _, g := range r.Groups {
			fmt.Fprintf(table, "\t%.1f\t\t", g.Facts[f.name])
		}
		fmt.Fprintln(table, "\t")
	}
	table.Flush()

	for _, g := range r.Groups[:3] {
		fmt.Fprintf(w, "Wait events of the walsender before it sent, by share of deliveries, %s:", g.Name)
		for _, event := range slices.SortedFunc(maps.Keys(g.Events), func(a, b string) int { return g.Events[b] - g.Events[a] }) {
			fmt.Fprintf(w, " %s %.0f %%", cmp.Or(event, "none seen"), 100*float64(g.Events[event])/float64(g.Deliveries))
		}
		fmt.Fprintln(w)
	}
	if n := len(r.Stretches); n > 0 {
		fmt.Fprintf(w, "Deliveries beyond 10 ms come in %d stretches; the largest:", n)
		for _, s := range r.Stretches[:min(n, 5)] {
			fmt.Fprintf(w, " %d in %.0f ms (%s);", s.Deliveries, milliseconds(s.Length), stageNames[s.Longest])
		}
		fmt.Fprintln(w)
	}

	fmt.Fprintln(w, "\nThe slowest deliveries (r: low-water mark raised; l: lifted; b: reader busy; f: flowing; g: linger; p: lane busy)")
	table = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "all\tsent\tread\tpublished\thanded over\tqueued\ttaken\tsealed\twritten\tacked\tconsumer\t\tat queue\tat send\tpass\tbatch\t")
	for i := range r.Slowest {
		d := &r.Slowest[i]
		fmt.Fprintf(table, "%.2f", milliseconds(d.total()))
		for _, took := range d.Took {
			fmt.Fprintf(table, "\t%.2f", milliseconds(took))
		}
		flags := ""
		for _, f := range []struct {
			set  bool
			name string
		}{{d.MarkRaised, "r"}, {d.MarkLifted, "l"}, {d.ReaderBusy, "b"}, {d.Flowing, "f"}, {d.Linger, "g"}, {d.LaneBusy, "p"}} {
			if f.set {
				flags += f.name
			}
		}
		fmt.Fprintf(table, "\t%s\t%d\t%d\t%d\t%d\t\n", flags, d.AtQueue, d.AtSend, d.PassEvents, d.BatchTxs)
	}
	table.Flush()
}
