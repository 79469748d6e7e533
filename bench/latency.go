package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"walpost/internal/testenv/child"
	"walpost/internal/testenv/program"
)

// latencies are times until a consumer had a row, in milliseconds, on one
// clock.
type latencies struct {
	Rate            int // commits a second that were meant
	Commits         int
	Seconds         float64
	Seen            quantiles // since COMMIT returned
	Intended        quantiles // since the moment at which the commit was meant to begin
	RelayPerMinute  float64   // CPU seconds of walpost
	BrokerPerMinute float64
	PeakRSS         int64
	Foreign         float64
}

type quantiles struct{ P50, P90, P99, P999, Max float64 }

// writers commit side by side, so that a slow commit holds up none of the
// others: the load is open, and a stall is seen as what it costs.
const writers = 16

// latencies measures single-row commits at a steady rate: once, or, beside another binary, by turns in each round.
func (r *rig) latencies(ctx context.Context) (own, others []latencies, err error) {
	rounds := 1
	if r.other != "" {
		rounds = r.rounds
	}
	for round := range rounds {
		for _, file := range r.turn(round) {
			l, err := r.latency(ctx, file)
			if err != nil {
				return own, others, err
			}
			if file == r.walpost {
				own = append(own, *l)
			} else {
				others = append(others, *l)
			}
		}
	}
	return own, others, nil
}

// latency measures a binary.
func (r *rig) latency(ctx context.Context, file string) (*latencies, error) {
	ctx, cancel := context.WithTimeout(ctx, r.warmUp+r.lasting+2*time.Minute)
	defer cancel()
	b, err := r.newDatabase(ctx, fmt.Sprintf("bench_latency_%d", r.topics))
	if err != nil {
		return nil, err
	}
	topic, err := r.newTopic(ctx)
	if err != nil {
		return nil, err
	}
	relay, err := r.start(file, b, baseSlot, topic)
	if err != nil {
		return nil, err
	}
	defer relay.Kill()
	if _, err := b.awaitReader(ctx, baseSlot, relay.Done()); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, child.Tail(relay.Log))
	}
	progress("latency: %d commits a second for %v, after %v, by %s", r.rate, r.lasting, r.warmUp, file)
	l, err := r.commitAndConsume(ctx, b, topic, relay)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, child.Tail(relay.Log))
	}
	return l, errors.Join(stop(ctx, relay), b.drop(ctx, baseSlot), b.conn.Close(ctx))
}

// stamps are the moments of one commit; of two goroutines' making, read when
// both are done.
type stamps struct{ intended, committed, seen time.Time }

func (r *rig) commitAndConsume(ctx context.Context, b *backlog, topic string, relay *program.Relay) (*latencies, error) {
	warm := int(r.warmUp.Seconds() * float64(r.rate))
	total := warm + int(r.lasting.Seconds()*float64(r.rate))
	all := make([]stamps, total)
	work := make(chan int, total)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.consume(ctx, topic, all, relay.Done()) })
	for range writers {
		conn, err := pgx.Connect(ctx, b.dsn)
		if err != nil {
			return nil, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		group.Go(func() error { return commit(ctx, conn, all, work) })
	}
	broker := childNamed("java")
	var from machine
	var relayCPU, brokerCPU time.Duration
	begin := time.Now()
	for i := range all {
		if i == warm {
			from, relayCPU, brokerCPU = look(), cpuOf(relay.PID()), cpuOf(broker)
		}
		at := begin.Add(time.Duration(i) * time.Second / time.Duration(r.rate))
		if wait := time.Until(at); wait > 0 {
			select {
			case <-ctx.Done():
				return nil, errors.Join(context.Cause(ctx), group.Wait())
			case <-time.After(wait):
			}
		}
		all[i].intended = at
		work <- i
	}
	to := look()
	minutes := to.at.Sub(from.at).Minutes()
	l := &latencies{
		Rate: r.rate, Commits: total - warm, Seconds: to.at.Sub(from.at).Seconds(),
		RelayPerMinute:  (cpuOf(relay.PID()) - relayCPU).Seconds() / minutes,
		BrokerPerMinute: (cpuOf(broker) - brokerCPU).Seconds() / minutes,
		Foreign:         foreign(from, to),
	}
	close(work)
	if err := group.Wait(); err != nil {
		return nil, err
	}
	l.PeakRSS = child.PeakRSS(relay.PID())
	l.Seen = quantilesOf(all[warm:], func(s stamps) time.Duration { return s.seen.Sub(s.committed) })
	l.Intended = quantilesOf(all[warm:], func(s stamps) time.Duration { return s.seen.Sub(s.intended) })
	return l, nil
}

// commit commits the rows whose number comes in. The number is the type.
func commit(ctx context.Context, conn *pgx.Conn, all []stamps, work <-chan int) error {
	const insert = `INSERT INTO walpost.outbox (aggregatetype, aggregateid, type, payload) SELECT 'order', ($1 % 1000)::text, $1::text, ` + payloadSQL + ` FROM (SELECT $1::int AS i)`
	for i := range work {
		if _, err := conn.Exec(ctx, insert+" AS one", i); err != nil {
			return fmt.Errorf("commit row %d: %w", i, err)
		}
		all[i].committed = time.Now()
	}
	return nil
}

// consume notes when each row was first seen, until all were, and fails on a
// row that comes twice.
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
			return fmt.Errorf("%d of %d rows were not seen: %w", left, len(all), context.Cause(ctx))
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("consume: %w", err)
		}
		for records := fetches.RecordIter(); !records.Done(); left-- {
			i, err := strconv.Atoi(header(records.Next(), "ce_type"))
			if err != nil || i >= len(all) || !all[i].seen.IsZero() {
				return fmt.Errorf("row %d of %d: unknown, or seen twice (%v)", i, len(all), err)
			}
			all[i].seen = now
		}
	}
	return nil
}

func quantilesOf(all []stamps, of func(stamps) time.Duration) quantiles {
	var sorted []time.Duration
	for _, s := range all {
		sorted = append(sorted, of(s))
	}
	slices.Sort(sorted)
	at := func(q float64) float64 {
		return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Microseconds()) / 1000
	}
	return quantiles{P50: at(.5), P90: at(.9), P99: at(.99), P999: at(.999), Max: at(1)}
}
