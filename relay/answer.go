package relay

import (
	"context"
	"fmt"
	"time"
)

// answerLimit bounds how long the checks before a session, or what a verb asks for, may take together: SQL that takes milliseconds. A server that is frozen, or a
// way to it that swallows everything, keeps a connection open and never answers.
const answerLimit = 30 * time.Second

// answer watches whether the server answers. It is used from one goroutine.
type answer struct {
	timer *time.Timer
}

// within calls do with a context that ends when the limit has passed, and then returns that as the cause.
func (a *answer) within(ctx context.Context, do func(context.Context) error) error {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.timer = time.AfterFunc(answerLimit, func() {
		cancel(fmt.Errorf("the server has not answered for %v, though the connection stands", answerLimit))
	})
	defer a.timer.Stop()
	err := do(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return context.Cause(limited)
	}
	return err
}

// inTime calls do with the limit of a whole answer.
func inTime(ctx context.Context, do func(context.Context) error) error {
	return new(answer).within(ctx, do)
}

// suspend lifts the limit for what takes as long as Kafka and others' transactions do, and watches over its connection itself.
func (a *answer) suspend() { a.timer.Stop() }

// resume sets the limit again.
func (a *answer) resume() { a.timer.Reset(answerLimit) }
