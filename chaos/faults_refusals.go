package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"walpost/chaos/topics"
)

// refusalFaults are events that the brokers refuse for good, so that the relay parks them, and what their keys bring meanwhile. Then the cause
// is removed, and an operator gives everything back.
func refusalFaults() []fault {
	const refused = "Kafka: events refused, then retried"
	return []fault{
		{refused, 12, brief | refuses, refusing(func(ctx context.Context, r *round) error { return r.hold(ctx, time.Second, 3*time.Second) })},
		{refused + ", relay kill -9 meanwhile", 10, brief | repeats | refuses, refusing(func(ctx context.Context, r *round) error {
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
		})},
		{refused + ", while walpost.dead_letters is locked", 4, refuses, refusing(func(ctx context.Context, r *round) error {
			conn, err := pgx.Connect(ctx, r.postgres.DSN(r.name))
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			if _, err := conn.Exec(ctx, "BEGIN; LOCK TABLE walpost.dead_letters"); err != nil {
				return err
			}
			return r.hold(ctx, 2*time.Second, 6*time.Second)
		})},
		{refused + ", Postgres connections cut meanwhile", 4, brief | repeats | refuses, refusing(func(ctx context.Context, r *round) error {
			for range 3 {
				if err := r.hold(ctx, 0, 800*time.Millisecond); err != nil {
					return err
				}
				r.toPG.Cut()
			}
			return nil
		})},
	}
}

// refusedOver is the limit of a batch in bytes, as it is sent, for which a part of the events is too large that can hardly be compressed.
const refusedOver = 1000

// refusing makes the brokers refuse large events of one topic, does what comes meanwhile, and gives everything back. The relay may also be
// killed while it publishes what was given back.
func refusing(meanwhile func(ctx context.Context, r *round) error) func(ctx context.Context, r *round) error {
	return func(ctx context.Context, r *round) error {
		topic := r.topic(orders)
		if err := topics.Limit(ctx, r.client, topic, refusedOver); err != nil {
			return err
		}
		return errors.Join(meanwhile(ctx, r), topics.Limit(ctx, r.client, topic, 0), r.giveBack(ctx))
	}
}

// giveBack does what an operator does, until nothing is parked any more.
func (r *round) giveBack(ctx context.Context) error {
	env, err := r.environment()
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := r.home.Run(ctx, r.walpost, env, "dead-letter", "retry", "--all"); err != nil && ctx.Err() == nil {
			return err
		}
		var left int
		err := r.ask(ctx, func(conn *pgx.Conn) (bool, error) {
			return true, conn.QueryRow(ctx, "SELECT count(*) FROM walpost.dead_letters WHERE state IN ('head', 'waiting', 'retrying')").Scan(&left)
		})
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
