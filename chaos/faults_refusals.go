package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/chaos/topics"
	"walpost/chaos/verdict"
	"walpost/internal/testenv/poll"
)

// refusalFaults are events that the brokers refuse for good, so that the relay parks them, and what their keys bring meanwhile. Then the cause
// is removed, and an operator gives everything back.
func refusalFaults() []fault {
	const refused = "Kafka: events refused"
	all := []fault{
		{refused + ", then retried", 12, brief | refuses, refusing(oversized, lasting(time.Second, 3*time.Second))},
		{refused + ", then retried, relay kill -9 meanwhile", 10, brief | repeats | refuses, refusing(oversized, killing)},
		{refused + ", then retried, Postgres connections cut meanwhile", 4, brief | repeats | refuses, refusing(oversized, cutting)},
		{refused + " by a compacted topic, because they have no key, relay kill -9 meanwhile", 4, brief | repeats | refuses, refusing(keyless, killing)},
		{refused + " because of their timestamps, relay kill -9 meanwhile", 4, brief | repeats | refuses, refusing(outdated, func(ctx context.Context, r *round) error {
			for range 2 {
				r.load.clock.Store(-int64(2 * outdatedBy))
				err := r.hold(ctx, 200*time.Millisecond, 600*time.Millisecond)
				r.load.clock.Store(0)
				if err := errors.Join(err, killing(ctx, r)); err != nil {
					return err
				}
			}
			return nil
		})},
		{refused + " again when they are retried, relay kill -9 meanwhile", 6, repeats | refuses, refusedAgain},
		{refused + ", some discarded, relay kill -9 meanwhile", 6, repeats | refuses, refusing(oversized, discarding)},
		// The last step, after which a key flows again, must not need a pause in the events of the key.
		{refused + " of a key that never pauses", 6, refuses, neverPausing},
	}
	return slices.Concat(all, tableFaults(refused), fenceFaults(refused))
}

// refusal is a way in which the brokers refuse events.
type refusal struct {
	aggregate      string
	setting        string // of the topic
	refuse, accept string // its values; empty: the brokers' default
	of             verdict.Refusal
}

// outdatedBy is how much older than the broker's clock the timestamp of a record may be.
const outdatedBy = 30 * time.Minute

var (
	// A batch is limited to 1000 bytes as it is sent, so events are too large that can hardly be compressed. Headers take about half of it.
	oversized = refusal{orders, "max.message.bytes", "1000", "", verdict.Refusal{Reason: "message_too_large", Larger: 200}}
	keyless   = refusal{payments, "cleanup.policy", "compact", "delete", verdict.Refusal{Reason: "invalid_record", Keyless: true}}
	outdated  = refusal{stamped, "message.timestamp.before.max.ms", fmt.Sprint(outdatedBy.Milliseconds()), "", verdict.Refusal{Reason: "invalid_timestamp", Older: outdatedBy}}
)

// propagation is how long brokers may still use the value of a setting that was changed.
const propagation = time.Second

// refuse makes the brokers refuse events.
func (r *round) refuse(ctx context.Context, f refusal) error {
	one := f.of
	one.Topic, one.Begin = r.topic(f.aggregate), time.Now()
	r.refused = append(r.refused, &one)
	return topics.Set(ctx, r.client, one.Topic, f.setting, f.refuse)
}

// accept makes the brokers take all events again.
func (r *round) accept(ctx context.Context, f refusal) error {
	topic := r.topic(f.aggregate)
	err := topics.Set(ctx, r.client, topic, f.setting, f.accept)
	for _, one := range r.refused {
		if one.Topic == topic && one.End.IsZero() {
			one.End = time.Now().Add(propagation)
		}
	}
	return err
}

// refusing makes the brokers refuse events, does what comes meanwhile, and gives everything back.
func refusing(f refusal, meanwhile func(ctx context.Context, r *round) error) func(ctx context.Context, r *round) error {
	return func(ctx context.Context, r *round) error {
		if err := r.refuse(ctx, f); err != nil {
			return err
		}
		return errors.Join(meanwhile(ctx, r), r.accept(ctx, f), r.giveBack(ctx))
	}
}

func lasting(from, to time.Duration) func(ctx context.Context, r *round) error {
	return func(ctx context.Context, r *round) error { return r.hold(ctx, from, to) }
}

// killing kills the relay a few times. It may also die while it publishes what was given back.
func killing(ctx context.Context, r *round) error {
	for range 1 + r.r.IntN(3) {
		if err := r.hold(ctx, 200*time.Millisecond, time.Second); err != nil {
			return err
		}
		r.relay.kill()
		if err := r.relay.start(); err != nil {
			return err
		}
	}
	return nil
}

// refusedAgain lowers and raises the limit twice, while events are given back all the time. An event that is refused again has to
// wait at the head of its key as before.
func refusedAgain(ctx context.Context, r *round) error {
	for i := range 2 {
		if err := r.refuse(ctx, oversized); err != nil {
			return err
		}
		if err := r.awaitLetters(ctx, "state = 'head'"); err != nil {
			return err
		}
		before, err := r.letters(ctx, "attempts > 0 AND state = 'head'")
		if err != nil {
			return err
		}
		if err := r.retry(ctx); err != nil {
			return err
		}
		if i == 0 {
			if err := killing(ctx, r); err != nil {
				return err
			}
		}
		if before == 0 {
			if err := r.awaitLetters(ctx, "attempts > 0 AND state = 'head'"); err != nil {
				return err
			}
		}
		if err := r.accept(ctx, oversized); err != nil {
			return err
		}
		if err := errors.Join(r.retry(ctx), r.hold(ctx, 0, time.Second)); err != nil {
			return err
		}
	}
	return r.giveBack(ctx)
}

// discarding gives some events up: heads, and events that wait behind them.
func discarding(ctx context.Context, r *round) error {
	if err := r.awaitLetters(ctx, "state = 'waiting'"); err != nil {
		return err
	}
	var ids []int64
	var events []string
	err := r.ask(ctx, func(conn *pgx.Conn) (bool, error) {
		rows, err := conn.Query(ctx, `SELECT array_agg(id), array_agg(event_id) FROM (SELECT id, event_id FROM walpost.dead_letters
			WHERE slot = $1 AND state IN ('head', 'waiting') ORDER BY md5(event_id) LIMIT 40) chosen`, r.name)
		if err == nil {
			_, err = pgx.ForEachRow(rows, []any{&ids, &events}, func() error { return nil })
		}
		return true, err
	})
	if err != nil {
		return err
	}
	if r.r.IntN(2) == 0 {
		if err := killing(ctx, r); err != nil {
			return err
		}
	}
	args := []string{"dead-letter", "discard", "--note", "the ledger gives it up"}
	for _, id := range ids {
		args = append(args, fmt.Sprint(id))
	}
	env, err := r.environment()
	if err != nil {
		return err
	}
	if _, err := r.home.Run(ctx, r.walpost, env, args...); err != nil {
		return err
	}
	for _, id := range events {
		r.discarded[id] = true
	}
	// What waits behind it stays: nobody has given it back.
	before, err := r.letters(ctx, "state IN ('retrying', 'released')")
	if err != nil {
		return err
	}
	if err := killing(ctx, r); err != nil {
		return err
	}
	if err := r.hold(ctx, 2*time.Second, 3*time.Second); err != nil {
		return err
	}
	after, err := r.letters(ctx, "state IN ('retrying', 'released')")
	if err == nil && after != before {
		r.stuck = append(r.stuck, fmt.Sprintf("%d events came back after others were discarded, although nobody gave them back", after-before))
	}
	return err
}

// flowsWithin is how long a key may take to flow again after it was given back, although events of it keep coming. Without its last step, it never
// would. On a slow machine, what is given back waits for seconds behind the events that are in the lanes.
const flowsWithin = time.Minute

// neverPausing makes the brokers refuse events of a key that gets new ones all the time, and gives everything back once. Then every key has to
// flow again, and the table has to be empty of parked events, although events of that key keep coming.
func neverPausing(ctx context.Context, r *round) error {
	hot, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); r.load.insertHot(hot) }()
	end := func() { cancel(); <-ended }
	defer end()
	if err := r.refuse(ctx, oversized); err != nil {
		return err
	}
	if err := r.awaitLetters(ctx, "key = '"+hotKey+"'"); err != nil {
		return err
	}
	if err := r.hold(ctx, time.Second, 3*time.Second); err != nil {
		return err
	}
	if err := errors.Join(r.accept(ctx, oversized), r.hold(ctx, propagation, propagation)); err != nil {
		return err
	}
	if err := r.retry(ctx); err != nil {
		return err
	}
	limit, done := context.WithTimeout(ctx, flowsWithin)
	defer done()
	left, keys := 0, 0.0
	err := poll.Every(limit, 100*time.Millisecond, func() (bool, error) {
		var err error
		if left, err = r.letters(ctx, stillParked); err != nil {
			return false, err
		}
		metrics, err := r.relay.current().Metrics(ctx)
		if err != nil {
			return false, nil
		}
		keys = metrics["walpost_parked_keys"]
		return left == 0 && keys == 0, nil
	})
	if err != nil && ctx.Err() == nil {
		r.stuck = append(r.stuck, fmt.Sprintf("%v after everything was given back, %d events are parked and %v keys do not flow, while events of key %s keep coming", flowsWithin, left, keys, hotKey))
		end()
		return r.giveBack(ctx)
	}
	return err
}

// stillParked is the condition of dead letters whose events wait.
const stillParked = "state IN ('head', 'waiting', 'retrying')"

// letters counts the dead letters for which a condition is true.
func (r *round) letters(ctx context.Context, condition string) (n int, err error) {
	err = r.ask(ctx, func(conn *pgx.Conn) (bool, error) {
		return true, conn.QueryRow(ctx, "SELECT count(*) FROM walpost.dead_letters WHERE slot = $1 AND "+condition, r.name).Scan(&n)
	})
	return n, err
}

// awaitLetters waits until there are such dead letters.
func (r *round) awaitLetters(ctx context.Context, condition string) error {
	return poll.Until(ctx, func() (bool, error) {
		n, err := r.letters(ctx, condition)
		return n > 0, err
	})
}

// retry gives back what is parked.
func (r *round) retry(ctx context.Context) error {
	env, err := r.environment()
	if err != nil {
		return err
	}
	_, err = r.home.Run(ctx, r.walpost, env, "dead-letter", "retry", "--all")
	return err
}

// giveBack does what an operator does, until nothing is parked any more.
func (r *round) giveBack(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := r.retry(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if left, err := r.letters(ctx, stillParked); err != nil || left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
