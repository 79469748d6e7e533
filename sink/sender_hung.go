package sink

import (
	"time"

	"github.com/IBM/sarama"
)

// avoidFor is how long walpost does not connect again to a broker that hangs.
const avoidFor = 5 * time.Second

// watch disconnects from a broker that hangs. Otherwise the sender would wait for its answer until the read time-out, although the
// partition already has a new leader. A closed sender may still wait for the broker, so watch goes on until that is over.
func (s *sender) watch() {
	tick := time.NewTicker(stuckAfter / 3)
	defer tick.Stop()
	for {
		select {
		case <-s.p.ctx.Done():
			return
		case <-tick.C:
		}
		stuck, over := s.stuck()
		if over {
			return
		}
		if len(stuck) > 0 {
			s.disconnectIfMoved(stuck)
		}
	}
}

// disconnectIfMoved disconnects from the broker if another one leads one of the partitions now. This also frees everything else that waits
// for the broker.
func (s *sender) disconnectIfMoved(stuck []*partition) {
	part, leader := s.p.ledElsewhere(stuck, s.broker)
	if part == nil {
		return
	}
	s.p.log.Warn("disconnecting from a broker that does not answer", "broker", s.broker.Addr(), "topic", part.topic.name, "partition", part.index, "leader", leader.Addr())
	s.p.splicer.Avoid(s.broker.Addr(), avoidFor)
}

// ledElsewhere looks for a partition that has another leader than the broker that hangs. The same broker at another address counts as
// another leader. It returns the partition and its leader, or nil.
func (p *Producer) ledElsewhere(partitions []*partition, hung *sarama.Broker) (*partition, *sarama.Broker) {
	var names []string
	for _, part := range partitions {
		names = append(names, part.topic.name)
	}
	if !p.wait(p.meta.RefreshAll(names, 0)) {
		return nil, nil
	}
	for _, part := range partitions {
		if b, err := p.meta.Leader(part.topic.name, part.index); err == nil && b != hung {
			return part, b
		}
	}
	return nil, nil
}
