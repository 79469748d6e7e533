package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// print prints the tables.
func (r report) print(w io.Writer) {
	for _, c := range r.Drains {
		fmt.Fprintf(w, "\nDrain of %d rows in %s, payload %.0f B, %d MB of WAL; medians, rounds in turn: %d\n",
			c.Rows, c.Workload, c.Payload, c.WAL>>20, len(c.Walpost))
		table := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
		fmt.Fprintln(table, "\tk rows/s\trange\treader µs/row\twalsender µs/row\tbroker µs/row\tpeak RSS MB\tforeign cores\t")
		line(table, "pg_recvlogical → /dev/null", c.Recvlogical)
		line(table, "walpost → Kafka", c.Walpost)
		line(table, fmt.Sprintf("walpost → Kafka, %d keys parked", c.ParkedKeys), c.Parked)
		line(table, "other walpost → Kafka", c.Other)
		table.Flush()
		c.ratios(w)
	}
	for i := range r.Latency {
		r.Latency[i].print(w)
	}
}

func line(w io.Writer, name string, runs []drained) {
	if len(runs) == 0 {
		return
	}
	rate, low, high := spread(runs, drained.rate)
	median := func(of func(drained) float64) float64 { m, _, _ := spread(runs, of); return m }
	broker := "–"
	if m := median(func(d drained) float64 { return d.Broker }); m > 0 {
		broker = fmt.Sprintf("%.2f", m)
	}
	fmt.Fprintf(w, "%s\t%.1f\t%.0f–%.0f\t%.2f\t%.2f\t%s\t%.0f\t%.2f\t\n", name, rate, low, high,
		median(func(d drained) float64 { return d.Reader }), median(func(d drained) float64 { return d.Walsender }), broker,
		median(func(d drained) float64 { return float64(d.PeakRSS) / (1 << 20) }), median(func(d drained) float64 { return d.Foreign }))
}

// ratios prints the figures that can be compared between machines.
func (c comparison) ratios(w io.Writer) {
	rate, _, _ := spread(c.Walpost, drained.rate)
	sender, _, _ := spread(c.Walpost, func(d drained) float64 { return d.Walsender })
	fmt.Fprintf(w, "walsender core used: %.0f %%", rate*sender/10) // k/s × µs = thousandths of a core
	if len(c.Recvlogical) > 0 {
		theirs, _, _ := spread(c.Recvlogical, drained.rate)
		paired := make([]float64, len(c.Walpost))
		cpu := make([]float64, len(c.Walpost))
		for i, d := range c.Walpost {
			other := c.Recvlogical[i]
			paired[i] = d.rate() / other.rate()
			cpu[i] = (d.Reader + d.Walsender) / (other.Reader + other.Walsender)
		}
		slices.Sort(paired)
		fmt.Fprintf(w, "; rate: %.2f × pg_recvlogical (rounds: %.2f–%.2f); CPU of reader and walsender together: %.2f ×",
			rate/theirs, paired[0], paired[len(paired)-1], middle(cpu))
	}
	fmt.Fprintln(w)
	if len(c.Parked) > 0 {
		fmt.Fprintf(w, "walpost with %d parked keys compared with none, pair by pair", c.ParkedKeys)
		pairs(w, "rate", c.Parked, c.Walpost, drained.rate)
		pairs(w, "CPU a row", c.Parked, c.Walpost, func(d drained) float64 { return d.Reader })
		pairs(w, "peak RSS", c.Parked, c.Walpost, func(d drained) float64 { return float64(d.PeakRSS) })
		fmt.Fprintln(w)
	}
	if len(c.Other) > 0 {
		fmt.Fprint(w, "walpost compared with the other binary, pair by pair")
		pairs(w, "rate", c.Walpost, c.Other, drained.rate)
		pairs(w, "CPU a row", c.Walpost, c.Other, func(d drained) float64 { return d.Reader })
		pairs(w, "CPU a row of walsender and broker", c.Walpost, c.Other, func(d drained) float64 { return d.Walsender + d.Broker })
		pairs(w, "peak RSS", c.Walpost, c.Other, func(d drained) float64 { return float64(d.PeakRSS) })
		fmt.Fprintln(w)
	}
}

// pairs prints the ratio of a figure, ours to the other's: the median of the pairs, the lowest and the highest.
func pairs[T any](w io.Writer, name string, ours, others []T, of func(T) float64) {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = of(ours[i]) / of(others[i])
	}
	slices.Sort(ratios)
	fmt.Fprintf(w, "; %s %.3f × (%.2f–%.2f)", name, middle(ratios), ratios[0], ratios[len(ratios)-1])
}

// spread returns the median, the lowest and the highest figure of some runs.
func spread[T any](runs []T, of func(T) float64) (median, low, high float64) {
	values := make([]float64, len(runs))
	for i, run := range runs {
		values[i] = of(run)
	}
	slices.Sort(values)
	return middle(values), values[0], values[len(values)-1]
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[half]
}
