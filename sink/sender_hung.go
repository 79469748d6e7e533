package sink

import (
	"time"

	"github.com/IBM/sarama"
)

// avoidFor is how long a broker that hangs is not connected to again.
const avoidFor = 5 * time.Second

// watch leaves a broker that hangs: its answer would be waited for until the read time-out, while the partition has a new leader already.
// A sender that is closed may still wait for the broker: it is watched until that is over.
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
			s.leaveBroker(stuck)
		}
	}
}

// leaveBroker leaves the broker if another one leads one of the partitions by now. What else waits for the broker is freed as well.
func (s *sender) leaveBroker(stuck []*partition) {
	part, leader := s.p.ledElsewhere(stuck, s.broker)
	if part == nil {
		return
	}
	s.p.log.Warn("leaving a broker that does not answer", "broker", s.broker.Addr(), "topic", part.topic.name, "partition", part.index, "leader", leader.Addr())
	s.p.splicer.Avoid(s.broker.Addr(), avoidFor)
}

// ledElsewhere looks for a partition that another broker leads than the one that hangs, or the same one at another address, and returns both.
func (p *Producer) ledElsewhere(partitions []*partition, hung *sarama.Broker) (*partition, *sarama.Broker) {
	var names []string
	for _, part := range partitions {
		names = append(names, part.topic.name)
	}
	if !p.wait(p.meta.LookAll(names, 0)) {
		return nil, nil
	}
	for _, part := range partitions {
		if b, err := p.meta.Leader(part.topic.name, part.index); err == nil && b != hung {
			return part, b
		}
	}
	return nil, nil
}
