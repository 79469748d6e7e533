package postgres

import (
	"context"
	"fmt"
	"time"

	"walpost/internal/reason"
)

// queryTimeout bounds how long the checks before a session, or the queries of a verb, may take together: SQL that takes milliseconds. A server
// that is frozen, or a network that swallows everything, keeps a connection open and never answers.
const queryTimeout = 30 * time.Second

// Timeout bounds how long the server may take to answer. It is used from one goroutine.
type Timeout struct {
	timer *time.Timer
}

// Within calls do with a context that ends when the limit has passed, and then returns that as the cause.
func (t *Timeout) Within(ctx context.Context, do func(context.Context) error) error {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.timer = time.AfterFunc(queryTimeout, func() {
		cancel(reason.With(reason.PostgresSilent, fmt.Errorf("the server has not answered for %v, though the connection stands", queryTimeout)))
	})
	defer t.timer.Stop()
	err := do(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return context.Cause(limited)
	}
	return err
}

// WithTimeout calls do with a context that ends after 30 s: longer, and the server does not answer.
func WithTimeout(ctx context.Context, do func(context.Context) error) error {
	return new(Timeout).Within(ctx, do)
}

// Suspend lifts the limit for what takes as long as Kafka and others' transactions do, and watches over its connection itself.
func (t *Timeout) Suspend() { t.timer.Stop() }

// Resume sets the limit again.
func (t *Timeout) Resume() { t.timer.Reset(queryTimeout) }
