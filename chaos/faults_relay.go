package main

import (
	"context"
	"syscall"
	"time"
)

// Names of faults that also come during an outage of Kafka.
const (
	killed  = "relay: kill -9"
	stopped = "relay: SIGTERM, started again"
)

func relayFaults() []fault {
	return []fault{
		// The kill comes at any point, also during a start.
		{killed, 190, brief | repeats, func(ctx context.Context, r *round) error {
			for range 1 + r.r.IntN(3) {
				if err := r.hold(ctx, 0, 400*time.Millisecond); err != nil {
					return err
				}
				r.relay.kill()
				if err := r.relay.start(); err != nil {
					return err
				}
			}
			return nil
		}},
		{stopped, 60, brief, func(ctx context.Context, r *round) error {
			if err := r.relay.stop(ctx); err != nil {
				r.stuck = append(r.stuck, err.Error())
				r.relay.kill()
			}
			return r.relay.start()
		}},
		{"relay: SIGSTOP, SIGCONT", 30, brief | repeats, func(ctx context.Context, r *round) error {
			if err := r.relay.signal(syscall.SIGSTOP); err != nil {
				return err
			}
			if err := r.hold(ctx, time.Second, 7*time.Second); err != nil {
				return err
			}
			return r.relay.signal(syscall.SIGCONT)
		}},
		{killed + ", its last request arrives late", 30, brief | repeats, func(ctx context.Context, r *round) error {
			if err := r.used(ctx)(r.toKafka.Hold(1)); err != nil {
				return err
			}
			r.relay.kill()
			if err := r.relay.start(); err != nil {
				return err
			}
			if err := r.awaitMore(ctx); err != nil {
				return err
			}
			return r.toKafka.Release(ctx)
		}},
	}
}
