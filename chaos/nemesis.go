package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"walpost/internal/testenv/child"
)

// fault is something that a user may see within a year.
type fault struct {
	name   string
	share  int // how often it comes, in a thousand faults
	traits trait
	// strike causes the fault and repairs it. Its caller waits for the relay to recover. An error is one of the rig, not of the relay.
	strike func(ctx context.Context, r *round) error
}

// trait is a set of properties of a fault.
type trait uint8

const (
	brief   trait = 1 << iota // it takes a few seconds, and so TestShort has it
	refuses                   // events are refused meanwhile
	repeats                   // events may be delivered again after it; after any other fault a duplicate is an error
)

func (f fault) is(t trait) bool { return f.traits&t != 0 }

// faults returns all faults.
func faults() []fault {
	var all []fault
	for _, some := range [][]fault{relayFaults(), postgresFaults(), kafkaFaults(), refusalFaults(), topicFaults(), answerFaults(), outageFaults(), loadFaults(), clockFaults()} {
		all = append(all, some...)
	}
	return all
}

// schedule draws n faults, each as often as its share says and at least once. Only the seed decides their order.
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

// rounds divides a schedule into rounds.
func rounds(all []fault, each int) [][]fault {
	var parts [][]fault
	for len(all) > 0 {
		n := min(each, len(all))
		parts = append(parts, all[:n])
		all = all[n:]
	}
	return parts
}

// struck is a fault that was caused.
type struck struct {
	fault     fault
	begin     time.Time
	mended    time.Time     // when the fault was repaired
	dead      int           // relays that were killed
	overtaken bool          // a relay lost its slot to another one while it was paused
	recovery  time.Duration // from mended until everything that was committed by then, and something later, was confirmed
}

// How long a fault may last, which often depends on the relay, and how long the recovery from it may take.
const (
	striking   = 3 * time.Minute
	recovering = 2 * time.Minute
)

// bring causes one fault, and waits until the relay has recovered from it.
func (r *round) bring(ctx context.Context, f fault) error {
	s := struck{fault: f, begin: time.Now()}
	dead, overtaken := r.relay.lost()
	limit, cancel := context.WithTimeout(ctx, striking)
	defer cancel()
	err := f.strike(limit, r)
	if err != nil && limit.Err() == nil {
		return fmt.Errorf("%s: %w", f.name, err) // an error of the rig
	}
	nowDead, nowOvertaken := r.relay.lost()
	s.mended, s.dead, s.overtaken = time.Now(), nowDead-dead, nowOvertaken > overtaken
	if err == nil {
		err = r.within(ctx, r.awaitMore)
		s.recovery = time.Since(s.mended)
	}
	r.struck = append(r.struck, s)
	if err != nil && ctx.Err() == nil {
		r.stuck = append(r.stuck, fmt.Sprintf("%s: the relay does not recover: %v\n%s", f.name, err, child.LastLines(r.relay.log, 10)))
		return errStuck
	}
	return err
}

// hold waits for a random time between from and to, while a fault lasts.
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
