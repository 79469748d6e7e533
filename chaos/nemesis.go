package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"walpost/internal/testenv/child"
)

// fault is one thing that happens to users in a year.
type fault struct {
	name   string
	share  int // of a thousand
	traits trait
	// strike breaks something and mends it again. What it leaves to be waited for is the relay's recovery. An error is the rig's, not
	// the relay's.
	strike func(ctx context.Context, r *round) error
}

// trait is what else is known of a fault.
type trait uint8

const (
	brief   trait = 1 << iota // it takes few seconds: it is in the short form
	repeats                   // events may come again after it; after the others that is a breach
)

func (f fault) is(t trait) bool { return f.traits&t != 0 }

// faults is all that the nemesis knows.
func faults() []fault {
	var all []fault
	for _, some := range [][]fault{relayFaults(), postgresFaults(), kafkaFaults(), answerFaults(), amidFaults(), loadFaults(), clockFaults()} {
		all = append(all, some...)
	}
	return all
}

// schedule draws n faults, each as often as its share says and at least once, in an order that the seed alone decides.
func schedule(known []fault, n int, seed uint64) []fault {
	shares := 0
	for _, f := range known {
		shares += f.share
	}
	var drawn []fault
	for _, f := range known {
		for range max(1, (n*f.share+shares-1)/shares) {
			drawn = append(drawn, f)
		}
	}
	r := rand.New(rand.NewPCG(seed, 0))
	r.Shuffle(len(drawn), func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
	return drawn
}

// rounds divides a schedule.
func rounds(all []fault, each int) [][]fault {
	var parts [][]fault
	for len(all) > 0 {
		n := min(each, len(all))
		parts = append(parts, all[:n])
		all = all[n:]
	}
	return parts
}

// struck is one fault that was brought over the relay.
type struck struct {
	fault    fault
	begin    time.Time
	mended   time.Time
	dead     int           // relays that were killed
	recovery time.Duration // from then until all that had been committed by then was confirmed, and something later too
}

// How long a fault may last, which often ends with what the relay does, and how long the recovery from it may take.
const (
	striking   = 3 * time.Minute
	recovering = 2 * time.Minute
)

// bring brings one fault, and waits until the relay has come through it.
func (r *round) bring(ctx context.Context, f fault) error {
	s := struck{fault: f, begin: time.Now()}
	dead := r.relay.killed()
	limit, cancel := context.WithTimeout(ctx, striking)
	defer cancel()
	err := f.strike(limit, r)
	if err != nil && limit.Err() == nil {
		return fmt.Errorf("%s: %w", f.name, err) // the rig's
	}
	s.mended, s.dead = time.Now(), r.relay.killed()-dead
	if err == nil {
		err = r.within(ctx, r.awaitMore)
		s.recovery = time.Since(s.mended)
	}
	r.struck = append(r.struck, s)
	if err != nil && ctx.Err() == nil {
		r.stuck = append(r.stuck, fmt.Sprintf("%s: the relay does not come through: %v\n%s", f.name, err, child.LastLines(r.relay.log, 10)))
		return errStuck
	}
	return err
}

// hold lets a fault last for some time between from and to.
func (r *round) hold(ctx context.Context, from, to time.Duration) error {
	timer := time.NewTimer(from + time.Duration(r.r.Int64N(int64(to-from)+1)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
