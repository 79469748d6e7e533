package relay

import (
	"context"
	"time"

	"walpost/relay/pgerror"
	"walpost/relay/postgres"
	"walpost/relay/replication"
)

// A reader that is held hears nothing of a server that shuts down and waits for it.
const (
	probeEvery = 2 * time.Second
	probeLimit = 2 * time.Second
)

// probe looks, for as long as the reader is held, whether the server still takes connections. One that does not is left, so that its
// shutdown does not wait for Kafka.
func (s *session) probe(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	held := false // at the last tick too
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := held
		held = s.confirmer.Holding()
		if !held || !before {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, probeLimit)
		err := postgres.Ping(limited, s.relay.cfg.CurrentConnString(), s.addr)
		cancel()
		if err != nil && pgerror.ServerGone(err) && s.confirmer.Holding() {
			s.stream.Interrupt(replication.ErrStopping)
			return
		}
	}
}
