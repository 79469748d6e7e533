package relay

import (
	"context"
	"time"

	"walpost/relay/postgres"
	"walpost/relay/replication"
)

// probe checks whether the server still takes connections, as long as the reader waits for acks and does not read. In that time the reader
// does not notice that the server shuts down and waits for this walsender. If the server shuts down, probe ends the session, so that the
// shutdown does not wait for Kafka.
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
