// Command bench measures the whole relay on real servers and prints ratios. It
// measures how fast walpost drains a backlog into Kafka, compared with
// pg_recvlogical, which drains the same backlog to /dev/null in the same run. It
// also measures the CPU and memory of that, and how long a single commit takes
// to reach a consumer.
//
// It starts its own Postgres and Kafka and removes them. README.md explains
// the figures.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
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

// options say what is measured.
type options struct {
	manyRows, oneRows int // sizes of the two backlogs
	rounds            int
	partitions        int
	codec             string
	major             int
	rates             []int // commits a second
	variants          []string
	trace             bool
	warmUp, lasting   time.Duration
	other             string // a binary to compare with
	parked            int    // keys
	raw               string
}

func parseFlags() options {
	o := options{rates: []int{50, 1000, 10_000}, variants: []string{"default"}}
	var short, drains bool
	flag.IntVar(&o.manyRows, "rows", 1_000_000, "rows of the backlog with 100-row transactions; 0: do not measure it")
	flag.IntVar(&o.oneRows, "single", 300_000, "rows of the backlog with 1-row transactions; 0: do not measure it")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement; tables have medians")
	flag.IntVar(&o.partitions, "partitions", 6, "partitions of the topic")
	flag.StringVar(&o.codec, "codec", "none", "kafka.compression.type of the drains")
	flag.IntVar(&o.major, "postgres", 0, "major version of Postgres; 0: the newest on this machine")
	flag.BoolVar(&drains, "drain", true, "measure drains")
	flag.Func("rates", "single-row commits a second at which latency is measured, separated by commas; empty: do not measure it (default 50,1000,10000)", func(text string) (err error) {
		o.rates, err = parseRates(text)
		return err
	})
	flag.Func("variants", "settings to compare at each rate, separated by commas: default, lingerN, or properties such as linger.ms=5+compression.type=none (default default)", func(text string) (err error) {
		o.variants = strings.Split(text, ",")
		for _, name := range o.variants {
			_, wrong := variant(name)
			err = errors.Join(err, wrong)
		}
		return err
	})
	flag.BoolVar(&o.trace, "trace", false, "show in which stages deliveries spend their time; this costs the relay some CPU")
	flag.DurationVar(&o.warmUp, "warm-up", 30*time.Second, "how long to commit once before latency is measured: a broker that has just started still compiles its code")
	flag.DurationVar(&o.lasting, "duration", 20*time.Second, "how long each latency run is measured")
	flag.StringVar(&o.other, "other", "", "another walpost binary, which is measured in turns with this one")
	flag.IntVar(&o.parked, "parked", 0, "also measure while an event of each of so many other keys is parked, in turns with none")
	flag.StringVar(&o.raw, "raw", "", "write every single figure to this file, as JSON")
	flag.BoolVar(&short, "short", false, "small sizes and one round, to check that the bench runs; the figures mean little")
	flag.Parse()
	if short {
		o.manyRows, o.oneRows, o.rounds, o.warmUp, o.lasting = 50_000, 20_000, 1, time.Second, 3*time.Second
	}
	if !drains {
		o.manyRows, o.oneRows = 0, 0
	}
	return o
}

func parseRates(text string) (rates []int, err error) {
	if text == "" {
		return nil, nil
	}
	for one := range strings.SplitSeq(text, ",") {
		rate, err := strconv.Atoi(one)
		if err != nil || rate < 1 {
			return nil, fmt.Errorf("rate %q: want a number of commits a second, at least 1", one)
		}
		rates = append(rates, rate)
	}
	return rates, nil
}

// report has all measurements.
type report struct {
	Setting string
	Drains  []comparison
	Latency []rated `json:",omitempty"`
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
	if len(o.rates) > 0 {
		if r.Latency, err = rig.latencies(ctx); err != nil {
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
