package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"walpost/internal/testenv/child"
)

// drained is one drain of a backlog.
type drained struct {
	Rows      int
	Seconds   float64 // from the walsender's start until all rows have arrived
	Reader    float64 // µs of CPU per row of walpost or pg_recvlogical
	Walsender float64
	Broker    float64 `json:",omitempty"`
	PeakRSS   int64   // bytes
	Foreign   float64 // cores that other processes kept busy
}

// rate returns thousands of rows a second.
func (d drained) rate() float64 { return float64(d.Rows) / d.Seconds / 1000 }

// comparison has the drains of a workload, in the order in which they ran.
type comparison struct {
	Workload    string
	Rows        int
	Payload     float64 // mean bytes
	WAL         int64   // bytes
	Walpost     []drained
	Recvlogical []drained `json:",omitempty"`
	Other       []drained `json:",omitempty"` // of the other binary
	ParkedKeys  int       `json:",omitempty"`
	Parked      []drained `json:",omitempty"` // of walpost while so many keys are parked
}

// drain is one of the drains by walpost that take turns.
type drain struct {
	name, file string
	parked     bool
	runs       *[]drained
}

// drains returns the drains by walpost of each round.
func (r *rig) drains(c *comparison) []drain {
	all := []drain{{name: "walpost", file: r.walpost, runs: &c.Walpost}}
	if r.parked > 0 {
		all = append(all, drain{name: parkedName("walpost", r.parked), file: r.walpost, parked: true, runs: &c.Parked})
	}
	if r.other != "" {
		all = append(all, drain{name: r.other, file: r.other, runs: &c.Other})
	}
	return all
}

// limit is the time limit of one drain.
const limit = 10 * time.Minute

// compare drains a backlog in turns.
func (r *rig) compare(ctx context.Context, load workload) (comparison, error) {
	b, err := r.newDatabase(ctx, fmt.Sprintf("bench_%d", load.perTransaction))
	if err != nil {
		return comparison{}, err
	}
	if r.parked > 0 {
		if err := r.parkBefore(ctx, b, r.parked); err != nil {
			return comparison{}, err
		}
	}
	progress("%s: committing %d rows", load.name, load.rows)
	if err := b.fill(ctx, load); err != nil {
		return comparison{}, err
	}
	c := comparison{Workload: load.name, Rows: load.rows, Payload: b.payload, WAL: b.wal, ParkedKeys: r.parked}
	// One drain does not count. It warms up the page cache, and the broker's
	// code is compiled after it.
	if _, err := r.publish(ctx, b, r.walpost, false); err != nil {
		return c, fmt.Errorf("walpost: %w", err)
	}
	for round := range r.rounds {
		if r.receiver != "" {
			d, err := r.receive(ctx, b)
			if err != nil {
				return c, fmt.Errorf("pg_recvlogical: %w", err)
			}
			progress("%s: round %d: pg_recvlogical %.0f k rows/s", load.name, round+1, d.rate())
			c.Recvlogical = append(c.Recvlogical, d)
		}
		all := r.drains(&c)
		for _, i := range rotated(all, round) {
			one := all[i]
			d, err := r.publish(ctx, b, one.file, one.parked)
			if err != nil {
				return c, fmt.Errorf("%s: %w", one.name, err)
			}
			progress("%s: round %d: %s %.0f k rows/s", load.name, round+1, one.name, d.rate())
			*one.runs = append(*one.runs, d)
		}
	}
	return c, b.close(ctx)
}

// publish drains the backlog with a walpost binary into a fresh topic, if parked while the keys of parkBefore are parked.
func (r *rig) publish(ctx context.Context, b *backlog, file string, parked bool) (d drained, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	slot, err := b.newSlot(ctx)
	if err != nil {
		return d, err
	}
	topic, err := r.newTopic(ctx)
	if err != nil {
		return d, err
	}
	keys := 0
	if parked {
		keys = r.parked
		if err := b.copyParked(ctx, slot, topic); err != nil {
			return d, err
		}
	}
	client, err := r.newClient()
	if err != nil {
		return d, err
	}
	defer client.Close()
	relay, err := r.start(file, b, slot, topic, "WALPOST_KAFKA_COMPRESSION_TYPE="+r.codec)
	if err != nil {
		return d, err
	}
	defer func() {
		if relay.Running() {
			relay.Kill()
		}
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, child.Tail(relay.Log))
		}
	}()
	walsender, err := b.awaitReader(ctx, slot, relay.Done())
	if err != nil {
		return d, err
	}
	broker := childNamed("java")
	from, senderCPU, brokerCPU := look(), cpuOf(walsender), cpuOf(broker)
	begin := time.Now()
	if err := client.await(ctx, topic, r.partitions, int64(b.rows), relay.Done()); err != nil {
		return d, err
	}
	d = drained{Rows: b.rows, Seconds: time.Since(begin).Seconds()}
	perRow := func(used time.Duration) float64 { return float64(used.Microseconds()) / float64(b.rows) }
	d.Walsender, d.Broker = perRow(cpuOf(walsender)-senderCPU), perRow(cpuOf(broker)-brokerCPU)
	d.Reader = perRow(cpuOf(relay.PID())) // its start included
	d.Foreign, d.PeakRSS = foreign(from, look()), child.PeakRSS(relay.PID())
	if err := errors.Join(mustPark(ctx, relay, keys), stop(ctx, relay)); err != nil {
		return d, err
	}
	if err := r.checkTopic(ctx, topic, b.rows); err != nil {
		return d, err
	}
	return d, b.drop(ctx, slot)
}

// receive drains the backlog with pg_recvlogical to /dev/null.
func (r *rig) receive(ctx context.Context, b *backlog) (d drained, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	slot, err := b.newSlot(ctx)
	if err != nil {
		return d, err
	}
	cmd := exec.CommandContext(ctx, r.receiver, "--start", "-S", slot, "-d", b.dsn, "-f", "/dev/null", "--no-loop",
		"--endpos", b.end, "-o", "proto_version=1", "-o", "publication_names=walpost")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return d, err
	}
	ended := make(chan struct{})
	var outcome error // once ended is closed
	go func() {
		outcome = cmd.Wait()
		close(ended)
	}()
	walsender, err := b.awaitReader(ctx, slot, ended)
	if err != nil {
		return d, err
	}
	from, begin := look(), time.Now()
	var senderCPU time.Duration
	var peak int64
	// At the end both processes are gone, so they are sampled until then.
	for ticks := time.NewTicker(5 * time.Millisecond); ; {
		senderCPU, peak = max(senderCPU, cpuOf(walsender)), max(peak, child.PeakRSS(cmd.Process.Pid))
		select {
		case <-ticks.C:
			continue
		case <-ended:
			ticks.Stop()
		}
		break
	}
	if outcome != nil {
		return d, outcome
	}
	seconds := time.Since(begin).Seconds()
	perRow := func(used time.Duration) float64 { return float64(used.Microseconds()) / float64(b.rows) }
	d = drained{
		Rows: b.rows, Seconds: seconds, PeakRSS: peak, Foreign: foreign(from, look()),
		Reader:    perRow(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()),
		Walsender: perRow(senderCPU),
	}
	return d, b.drop(ctx, slot)
}

// progress prints a line for the person who waits.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
