package postgres

import (
	"context"
	"fmt"
	"time"

	"walpost/internal/reason"
)

// queryTimeout bounds the time for all checks before a session, or all queries of a command. Normally they take milliseconds. But a frozen
// server, or a network that drops all packets, keeps a connection open and never answers.
const queryTimeout = 30 * time.Second

// Timeout bounds how long the server may take to answer. One goroutine uses it.
type Timeout struct {
	timer *time.Timer
}

// Within calls do with a context that ends after queryTimeout. If that ended do, Within returns an error that says so.
func (t *Timeout) Within(ctx context.Context, do func(context.Context) error) error {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.timer = time.AfterFunc(queryTimeout, func() {
		cancel(reason.With(reason.PostgresSilent, fmt.Errorf("the server has not answered for %v, although the connection is open", queryTimeout)))
	})
	defer t.timer.Stop()
	err := do(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return context.Cause(limited)
	}
	return err
}

// WithTimeout calls do as [Timeout.Within] does, without a way to suspend the limit.
func WithTimeout(ctx context.Context, do func(context.Context) error) error {
	return new(Timeout).Within(ctx, do)
}

// Suspend lifts the limit for work that waits for Kafka or for other transactions, and that watches its connection itself.
func (t *Timeout) Suspend() { t.timer.Stop() }

// Resume sets the limit again.
func (t *Timeout) Resume() { t.timer.Reset(queryTimeout) }
