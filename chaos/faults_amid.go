package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"walpost/chaos/kafkaproxy"
	"walpost/internal/testenv/poll"
)

// notEnoughReplicas is the code of NOT_ENOUGH_REPLICAS.
const notEnoughReplicas = 19

// amidFaults are deaths while Kafka takes nothing: all that was read is in the relay alone then, or so the relay must think.
func amidFaults() []fault {
	var all []fault
	for _, deaf := range []struct {
		name string
		arm  func(c *kafkaproxy.Cluster, n int) (*kafkaproxy.Fault, error)
	}{
		{"while Kafka refuses", func(c *kafkaproxy.Cluster, n int) (*kafkaproxy.Fault, error) { return c.Answer(notEnoughReplicas, n) }},
		{"while Kafka appends and does not answer", func(c *kafkaproxy.Cluster, n int) (*kafkaproxy.Fault, error) { return c.Swallow(n) }},
	} {
		for _, f := range slices.Concat(relayFaults(), postgresFaults()) {
			if share := dying[f.name]; share > 0 {
				if f.name != killed { // the others may take as long as a relay may to leave
					f.traits &^= brief
				}
				all = append(all, fault{f.name + ", " + deaf.name, share, f.traits | repeats, func(ctx context.Context, r *round) error {
					return r.amid(ctx, func() (*kafkaproxy.Fault, error) { return deaf.arm(r.toKafka, 1<<20) }, f)
				}})
			}
		}
	}
	return all
}

// dying are the faults that come amid an outage, and how often.
var dying = map[string]int{killed: 15, stopped: 3, cutPostgres: 10, crashed: 4, restartedFast: 3}

// amid brings a fault in the middle of an outage.
func (r *round) amid(ctx context.Context, begin func() (*kafkaproxy.Fault, error), f fault) error {
	outage, err := begin()
	if err != nil {
		return err
	}
	defer outage.Cancel()
	// It is one only when the relay has met it.
	if err := poll.Until(ctx, func() (bool, error) { return outage.Used() > 0, nil }); err != nil {
		return err
	}
	return errors.Join(r.hold(ctx, 0, 500*time.Millisecond), f.strike(ctx, r))
}
