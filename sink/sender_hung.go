package sink

import (
	"slices"
	"time"

	"github.com/IBM/sarama"

	"walpost/sink/wire"
)

// avoidFor is how long a broker that hangs is not connected to again.
const avoidFor = 5 * time.Second

// watch leaves a broker that hangs: its answer would be waited for until the read time-out, while the partition has a new leader already.
func (s *sender) watch() {
	tick := time.NewTicker(stuckAfter / 3)
	defer tick.Stop()
	for {
		select {
		case <-s.p.ctx.Done():
			return
		case <-tick.C:
		}
		stuck, closed := s.stuck()
		if closed && len(stuck) == 0 {
			return
		}
		if len(stuck) > 0 {
			s.leaveBroker(stuck)
		}
	}
}

// leaveBroker leaves the broker if another one leads one of the partitions by now. What else waits for the broker is freed as well: sarama
// asks whichever broker it likes for leaders, over the same connections, and would ask this one again as soon as it is rid of it.
func (s *sender) leaveBroker(stuck []*partition) {
	part, leader := s.p.ledElsewhere(stuck, s.broker)
	if part == nil {
		return
	}
	s.p.log.Warn("leaving a broker that does not answer", "broker", s.broker.Addr(), "topic", part.topic.name, "partition", part.index, "leader", leader)
	s.p.splicer.Avoid(s.broker.Addr(), avoidFor)
}

// ledElsewhere asks the other brokers for a partition that another one leads, and for that one's id. It uses connections of its own, because
// those that the client has may wait for the broker that hangs.
func (p *Producer) ledElsewhere(partitions []*partition, hung *sarama.Broker) (*partition, int32) {
	cfg := *p.client.Config()
	cfg.Net.DialTimeout, cfg.Net.ReadTimeout, cfg.Net.WriteTimeout = stuckAfter, stuckAfter, stuckAfter
	var topics []string
	for _, part := range partitions {
		if !slices.Contains(topics, part.topic.name) {
			topics = append(topics, part.topic.name)
		}
	}
	for _, addr := range p.addresses() {
		if addr == hung.Addr() || p.ctx.Err() != nil {
			continue
		}
		leaders, err := wire.Leaders(addr, &cfg, topics)
		if err != nil {
			continue
		}
		for _, part := range partitions {
			if leader, ok := leaders[part.topic.name][part.index]; ok && leader != hung.ID() {
				return part, leader
			}
		}
		return nil, 0
	}
	return nil, 0
}
