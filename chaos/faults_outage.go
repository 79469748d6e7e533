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

// unending is how many requests an outage affects: more than there will be.
const unending = 1 << 20

// outageFaults are faults during an outage of Kafka. Then only the relay has the events that it has read, or at least it has to assume so.
func outageFaults() []fault {
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
			if share := shareInOutage[f.name]; share > 0 {
				if f.name != killed { // the others may take as long as the relay may take to stop
					f.traits &^= brief
				}
				all = append(all, fault{f.name + ", " + deaf.name, share, f.traits | repeats, func(ctx context.Context, r *round) error {
					outage, err := deaf.arm(r.toKafka)
					if err != nil {
						return err
					}
					defer outage.Cancel()
					return r.strikeInOutage(ctx, outage, f)
				}})
			}
		}
	}
	return all
}

// shareInOutage has the faults that come during an outage, and their shares.
var shareInOutage = map[string]int{killed: 15, stopped: 3, cutPostgres: 10, crashed: 4, restartedFast: 3}

// strikeInOutage causes a fault during an outage.
func (r *round) strikeInOutage(ctx context.Context, outage *kafkaproxy.Fault, f fault) error {
	// Wait until the outage has affected the relay.
	if err := poll.Until(ctx, func() (bool, error) { return outage.Used() > 0, nil }); err != nil {
		return err
	}
	return errors.Join(r.hold(ctx, 0, 500*time.Millisecond), f.strike(ctx, r))
}
