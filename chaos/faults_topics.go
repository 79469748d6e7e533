package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"walpost/chaos/topics"
	"walpost/chaos/verdict"
	"walpost/internal/testenv/poll"
)

// topicFaults are conditions under which one topic takes no records, while all others do. The relay has to park its events, and to publish them
// when the topic takes records again. Nobody gives anything back.
func topicFaults() []fault {
	const blocked = "Kafka: topic blocked"
	return []fault{
		{blocked + ", because it was deleted", 6, 0, blocking(absent, 0, parkedFor)},
		{blocked + ", because it was deleted, relay kill -9 meanwhile", 6, repeats, blocking(absent, explained, killing)},
		{blocked + ", because it was deleted, Postgres connections cut meanwhile", 4, repeats, blocking(absent, explained, cutting)},
		{blocked + ", because it was deleted, another relay takes over meanwhile", 4, repeats, blocking(absent, explained, overtaking)},
		{blocked + ", because a right was taken away", 6, 0, blocking(denied, 0, parkedFor)},
		{blocked + ", because a right was taken away, relay kill -9 meanwhile", 6, repeats, blocking(denied, explained, killing)},
		{blocked + ", because it refuses everything", 4, refuses, blocking(refusingAll, 0, parkedFor)},
		{blocked + ", because it refuses everything, relay kill -9 meanwhile", 4, repeats | refuses, blocking(refusingAll, explained, killing)},
		// What was published last may come again.
		{blocked + ", relay kill -9 while it publishes what waited", 6, repeats, func(ctx context.Context, r *round) error {
			return errors.Join(blocking(absent, explained, parkedFor)(ctx, r), killing(ctx, r))
		}},
		{blocked + ", relay paused while it publishes what waited, another takes over", 4, repeats, func(ctx context.Context, r *round) error {
			return errors.Join(blocking(absent, explained, parkedFor)(ctx, r), overtaking(ctx, r))
		}},
	}
}

// explained is for how long a killed relay, or one that lost its session, explains that no topic gets events.
const explained = 15 * time.Second

// condition makes a topic take no records. It returns a function that ends that.
type condition func(ctx context.Context, r *round) (end func(context.Context) error, err error)

// blockedTopic is the topic that takes no records.
const blockedTopic = doomed

// awaitBlocked waits until events wait for their topic. That takes up to 30 s, if the topic gets few of them.
func (r *round) awaitBlocked(ctx context.Context) error { return r.awaitLetters(ctx, waitsForTopic) }

const waitsForTopic = "state = 'waiting' AND reason = 'topic_blocked'"

// drainedWithin is how long what waited for a topic may take after the topic takes records again. A topic that refused everything is tried every
// 30 s.
const drainedWithin = 45 * time.Second

// blocking brings a condition about, waits until the topic is parked, does what comes meanwhile, and ends the condition. others is for how long
// the fault itself explains that no other topic gets events.
func blocking(condition condition, others time.Duration, meanwhile func(ctx context.Context, r *round) error) func(ctx context.Context, r *round) error {
	return func(ctx context.Context, r *round) error {
		from := time.Now()
		end, err := condition(ctx, r)
		if err != nil {
			return err
		}
		if err := r.awaitBlocked(ctx); err != nil {
			return err
		}
		one := &verdict.Blocked{Topic: r.topic(blockedTopic), From: from, Begin: time.Now(), Others: others}
		r.blocked = append(r.blocked, one)
		err = meanwhile(ctx, r)
		one.End = time.Now()
		if err := errors.Join(err, end(ctx)); err != nil {
			return err
		}
		limit, cancel := context.WithTimeout(ctx, drainedWithin)
		defer cancel()
		left := 0
		err = poll.Until(limit, func() (bool, error) {
			var err error
			left, err = r.letters(ctx, waitsForTopic)
			return left == 0, err
		})
		if err != nil && ctx.Err() == nil {
			r.stuck = append(r.stuck, fmt.Sprintf("%v after topic %s takes records again, %d of its events wait", drainedWithin, one.Topic, left))
			return nil
		}
		return errors.Join(err, r.giveBack(ctx)) // what was refused before the topic was blocked
	}
}

// absent deletes the topic.
func absent(ctx context.Context, r *round) (end func(context.Context) error, err error) {
	if err := r.remove(ctx, r.topic(blockedTopic)); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return r.restore(ctx, r.topic(blockedTopic)) }, nil
}

// denied takes the right away to write to the topic.
func denied(ctx context.Context, r *round) (end func(context.Context) error, err error) {
	topic := r.topic(blockedTopic)
	return func(ctx context.Context) error { return topics.Allow(ctx, r.client, topic) }, topics.Deny(ctx, r.client, topic)
}

// refusingAll sets a limit that no record keeps.
func refusingAll(ctx context.Context, r *round) (end func(context.Context) error, err error) {
	f := refusal{blockedTopic, "max.message.bytes", "50", "", verdict.Refusal{Reason: "message_too_large"}}
	return func(ctx context.Context) error { return r.accept(ctx, f) }, r.refuse(ctx, f)
}

func parkedFor(ctx context.Context, r *round) error { return r.hold(ctx, 2*time.Second, 6*time.Second) }

// cutting cuts the relay's connections to Postgres a few times.
func cutting(ctx context.Context, r *round) error {
	for range 3 {
		if err := r.hold(ctx, 0, 800*time.Millisecond); err != nil {
			return err
		}
		r.toPG.Cut()
	}
	return nil
}

// overtaking pauses the relay, and another one takes over.
func overtaking(ctx context.Context, r *round) error {
	if err := r.relay.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return r.takeOver(ctx, func() error { return r.hold(ctx, time.Second, 3*time.Second) })
}
