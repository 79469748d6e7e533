package parking

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/semaphore"
)

// publishing is what a release and a drain have in common: they publish rows of one topic in rounds, and record what became of them.
type publishing struct {
	p      *Parker
	c      *connection
	holder string
	sink   Replayer
	topic  string
	memory *semaphore.Weighted // bytes of rounds that are not small
	large  *semaphore.Weighted // events that are larger than a round
}

// room returns how many bytes a round may have, and a function that gives them back.
func (a *publishing) room() (most int64, end func()) {
	if a.memory.TryAcquire(largeRound) {
		return largeRound, func() { a.memory.Release(largeRound) }
	}
	return smallRound, func() {}
}

// waitForLarge waits until no other topic publishes one event that is larger than a round, but not for long: Kafka may not take that event's
// topic now. It returns a function that ends the turn.
func (a *publishing) waitForLarge(ctx context.Context) (end func()) {
	ctx, cancel := context.WithTimeout(ctx, largeTurn)
	defer cancel()
	if a.large.Acquire(ctx, 1) != nil {
		return func() {}
	}
	return func() { a.large.Release(1) }
}

// publish publishes replays, and waits until each is published or has come back. It returns false if ctx ends before.
func (a *publishing) publish(ctx context.Context, replays []*replay, first bool) bool {
	g := a.p.publish(a.sink, replays, first)
	idle := time.NewTimer(lookEvery)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-idle.C: // Kafka may not take the records for long
			a.c.close()
		case <-g.done:
			return true
		}
	}
}

// record records what became of a round, however often it has to try, and then calls committed. After each attempt that fails it calls failed.
// It returns false if the session has ended: then what is not recorded is published again.
func (a *publishing) record(ctx context.Context, settle func(context.Context, pgx.Tx) error, committed, failed func()) bool {
	for {
		err := a.c.commit(ctx, a.holder, settle, committed)
		if err == nil {
			return true
		}
		failed()
		if ctx.Err() != nil || !a.p.stillHolds(a.holder) {
			return false
		}
		a.p.tell(ctx, a.holder, a.topic, err)
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}
