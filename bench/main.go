// Command bench measures the whole relay on real servers and prints ratios:
// how fast walpost drains a backlog into Kafka, against what pg_recvlogical
// drains of the same backlog into nothing in the same run, what that costs
// in CPU and memory, and how long a single commit takes to reach a consumer.
//
// It starts its own Postgres and Kafka and removes them. README.md says how
// to read the figures.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are how much is measured.
type options struct {
	manyRows, oneRows int // sizes of the two backlogs
	rounds            int
	partitions        int
	codec             string
	major             int
	rate              int // commits a second
	warmUp, lasting   time.Duration
	other             string // a binary to compare with
	raw               string
}

func parseFlags() options {
	var o options
	var short bool
	flag.IntVar(&o.manyRows, "rows", 1_000_000, "rows of the backlog with 100-row transactions; 0: leave it out")
	flag.IntVar(&o.oneRows, "single", 300_000, "rows of the backlog with 1-row transactions; 0: leave it out")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each drain; the table has medians")
	flag.IntVar(&o.partitions, "partitions", 6, "partitions of the topic")
	flag.StringVar(&o.codec, "codec", "none", "kafka.compression.type")
	flag.IntVar(&o.major, "postgres", 0, "Postgres's major version; 0: the newest on this machine")
	flag.IntVar(&o.rate, "rate", 1000, "single-row commits a second for the latency; 0: leave it out")
	flag.DurationVar(&o.warmUp, "warm-up", 30*time.Second, "commits before the latency is measured: a young broker compiles its code beside everything else")
	flag.DurationVar(&o.lasting, "duration", 20*time.Second, "how long the latency is measured")
	flag.StringVar(&o.other, "other", "", "another walpost's binary, to be measured by turns with this one")
	flag.StringVar(&o.raw, "raw", "", "a file for every single figure, as JSON")
	flag.BoolVar(&short, "short", false, "small sizes and one round: does it run? The figures mean little")
	flag.Parse()
	if short {
		o.manyRows, o.oneRows, o.rounds, o.warmUp, o.lasting = 50_000, 20_000, 1, time.Second, 3*time.Second
	}
	return o
}

// report is all that was measured.
type report struct {
	Setting string
	Drains  []comparison
	Latency []latencies `json:",omitempty"`
	Other   []latencies `json:",omitempty"` // of the other binary, each beside the one of Latency
}

func run(ctx context.Context) error {
	o := parseFlags()
	rig, err := newRig(ctx, o)
	if err != nil {
		return err
	}
	defer rig.close()
	r := report{Setting: rig.setting()}
	fmt.Println(r.Setting)
	for _, load := range []workload{
		{name: "100-row transactions", rows: o.manyRows, perTransaction: 100},
		{name: "1-row transactions", rows: o.oneRows, perTransaction: 1},
	} {
		if load.rows == 0 {
			continue
		}
		c, err := rig.compare(ctx, load)
		if err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
		r.Drains = append(r.Drains, c)
	}
	if o.rate > 0 {
		if r.Latency, r.Other, err = rig.latencies(ctx); err != nil {
			return fmt.Errorf("latency: %w", err)
		}
	}
	r.print(os.Stdout)
	if o.raw == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.raw, append(text, '\n'), 0o644)
}
