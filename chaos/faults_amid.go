package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"walpost/chaos/kafkaproxy"
	"walpost/internal/testenv/poll"
)

// unending is how many requests an outage meets: more than there will be.
const unending = 1 << 20

// amidFaults are deaths while Kafka takes nothing: all that was read is in the relay alone then, or so the relay must think.
func amidFaults() []fault {
	var all []fault
	for _, deaf := range []struct {
		name string
		arm  func(c *kafkaproxy.Cluster) (*kafkaproxy.Fault, error)
	}{
		{"while Kafka refuses", func(c *kafkaproxy.Cluster) (*kafkaproxy.Fault, error) {
			return c.Answer(kerr.NotEnoughReplicas.Code, unending)
		}},
		{"while Kafka appends and does not answer", func(c *kafkaproxy.Cluster) (*kafkaproxy.Fault, error) { return c.Swallow(unending) }},
	} {
		for _, f := range slices.Concat(relayFaults(), postgresFaults()) {
			if share := dying[f.name]; share > 0 {
				if f.name != killed { // the others may take as long as a relay may to leave
					f.traits &^= brief
				}
				all = append(all, fault{f.name + ", " + deaf.name, share, f.traits | repeats, func(ctx context.Context, r *round) error {
					outage, err := deaf.arm(r.toKafka)
					if err != nil {
						return err
					}
					defer outage.Cancel()
					return r.amid(ctx, outage, f)
				}})
			}
		}
	}
	return all
}

// dying are the faults that come amid an outage, and how often.
var dying = map[string]int{killed: 15, stopped: 3, cutPostgres: 10, crashed: 4, restartedFast: 3}

// amid brings a fault in the middle of an outage.
func (r *round) amid(ctx context.Context, outage *kafkaproxy.Fault, f fault) error {
	// It is one only when the relay has met it.
	if err := poll.Until(ctx, func() (bool, error) { return outage.Used() > 0, nil }); err != nil {
		return err
	}
	return errors.Join(r.hold(ctx, 0, 500*time.Millisecond), f.strike(ctx, r))
}
