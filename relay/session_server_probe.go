package relay

import (
	"context"
	"time"

	"walpost/relay/postgres"
	"walpost/relay/replication"
)

// probe looks, for as long as the reader is held, whether the server still takes connections. A reader that is held hears nothing of a server
// that shuts down and waits for it. Such a server is left, so that its shutdown does not wait for Kafka.
func (s *session) probe(ctx context.Context) {
	tick := time.NewTicker(postgres.ProbeEvery)
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
		if postgres.ServerStopping(ctx, s.relay.cfg.CurrentConnString(), s.addr) && s.confirmer.Holding() {
			s.stream.Interrupt(replication.ErrStopping)
			return
		}
	}
}
