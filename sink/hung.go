package sink

import (
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// shunFor is how long a broker that hangs is not connected to again.
const shunFor = 5 * time.Second

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
			s.desert(stuck)
		}
	}
}

// desert leaves the broker if another one leads a partition of the lanes by now. What else waits for the broker is freed as well: sarama
// asks whichever broker it likes for leaders, over the same connections, and would ask this one again as soon as it is rid of it.
func (s *sender) desert(stuck []*lane) {
	l, leader := s.p.ledElsewhere(stuck, s.broker)
	if l == nil {
		return
	}
	s.p.log.Warn("leaving a broker that does not answer", "broker", s.broker.Addr(), "topic", l.topic.name, "partition", l.partition, "leader", leader)
	s.p.splicer.shun(s.broker.Addr(), shunFor)
}

// ledElsewhere asks the other brokers for a lane that another one leads, and for that one's id. It uses connections of its own, because
// those that the client has may wait for the broker that hangs.
func (p *Producer) ledElsewhere(lanes []*lane, hung *sarama.Broker) (*lane, int32) {
	cfg := *p.client.Config()
	cfg.Net.DialTimeout, cfg.Net.ReadTimeout, cfg.Net.WriteTimeout = stuckAfter, stuckAfter, stuckAfter
	var topics []string
	for _, l := range lanes {
		if !slices.Contains(topics, l.topic.name) {
			topics = append(topics, l.topic.name)
		}
	}
	for _, addr := range p.addresses() {
		if addr == hung.Addr() || p.ctx.Err() != nil {
			continue
		}
		leaders, err := askLeaders(addr, &cfg, topics)
		if err != nil {
			continue
		}
		for _, l := range lanes {
			if leader, ok := leaders[partitionOf{l.topic.name, l.partition}]; ok && leader != hung.ID() {
				return l, leader
			}
		}
		return nil, 0
	}
	return nil, 0
}

// partitionOf is a partition of a topic.
type partitionOf struct {
	topic     string
	partition int32
}

// askLeaders asks one broker for the leaders of some topics' partitions, as far as these have any.
func askLeaders(addr string, cfg *sarama.Config, topics []string) (map[partitionOf]int32, error) {
	b, err := connect(addr, cfg)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	res, err := b.GetMetadata(sarama.NewMetadataRequest(cfg.Version, topics))
	if err != nil {
		return nil, err
	}
	leaders := map[partitionOf]int32{}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if p.Err == sarama.ErrNoError && p.Leader >= 0 {
				leaders[partitionOf{t.Name, p.ID}] = p.Leader
			}
		}
	}
	return leaders, nil
}

// shun ends all connections to an address, and lets none be made for a while.
func (s *splicer) shun(addr string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shunned[addr] = time.Now().Add(d)
	for c := range s.conns {
		if c.addr == addr {
			_ = c.Conn.Close()
		}
	}
}

// shuns returns an error if an address is not to be dialed now.
func (s *splicer) shuns(addr string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.shunned[addr]
	switch {
	case !ok:
		return nil
	case time.Now().Before(until):
		return fmt.Errorf("broker %s does not answer: %w", addr, net.ErrClosed)
	}
	delete(s.shunned, addr)
	return nil
}
