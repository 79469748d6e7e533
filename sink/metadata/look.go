package metadata

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// Run makes the looks that are joined, until ctx ends. It is called once.
func (c *Cache) Run(ctx context.Context) {
	pause := c.pause
	for {
		select {
		case <-ctx.Done():
			c.end(c.take())
			return
		case <-c.wake:
		}
		l := c.take()
		if l == nil {
			continue // it was joined while the one before it was being taken, and went with that
		}
		began := time.Now()
		if answered := c.make(ctx, l); answered {
			pause = c.pause
		} else {
			pause = min(2*pause, max(maxPause, c.pause))
		}
		c.end(l)
		if len(l.seen) > 0 {
			c.changed(l.seen)
		}
		// A large cluster is not asked for more than half of the time.
		if !sleep(ctx, max(pause, min(time.Since(began), maxPause))) {
			c.end(c.take())
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// look is one question to a broker, for all who have joined.
type look struct {
	wanted map[string]Want
	over   chan struct{}
	seen   []string // topics that an answer told of
}

// take returns the look that was joined, nil if none was. Who joins from now on joins the next.
func (c *Cache) take() *look {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		return nil
	}
	l := &look{wanted: c.wanted, over: c.next}
	c.wanted, c.next = map[string]Want{}, nil
	return l
}

// end tells those who have joined that their look is over.
func (c *Cache) end(l *look) {
	if l != nil {
		close(l.over)
	}
}

// make asks, and keeps what is answered. It reports whether a broker has answered everything.
func (c *Cache) make(ctx context.Context, l *look) bool {
	answered := true
	for _, create := range []bool{false, true} {
		if names := l.names(func(w Want) bool { return w&Create != 0 == create }); len(names) > 0 {
			res, err := c.ask.Metadata(ctx, c.Addresses(), names, create)
			if c.keep(res, err); err != nil {
				answered = false
			} else {
				l.seen = append(l.seen, names...)
			}
		}
	}
	names := l.names(func(w Want) bool { return w&Settings != 0 })
	if len(names) == 0 || !answered {
		return answered
	}
	limits, err := c.ask.MaxMessageBytes(ctx, c.Addresses(), names)
	if err != nil {
		return false // nobody has said that they may not be read
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if n, ok := limits[name]; ok {
			c.limits[name] = n
		} else {
			delete(c.limits, name)
		}
	}
	return true
}

// names returns the topics whose wants are such.
func (l *look) names(such func(Want) bool) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(l.wanted)) {
		if such(l.wanted[name]) {
			names = append(names, name)
		}
	}
	return names
}

// keep remembers an answer, or why there is none.
func (c *Cache) keep(res *sarama.MetadataResponse, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	if err != nil {
		return
	}
	brokers := map[int32]*sarama.Broker{}
	for _, b := range res.Brokers {
		brokers[b.ID()] = b
		// It stays the same value: who sends to it knows it by that.
		if before := c.brokers[b.ID()]; before != nil && before.Addr() == b.Addr() {
			brokers[b.ID()] = before
		}
	}
	if len(brokers) > 0 {
		c.brokers = brokers
	}
	for _, t := range res.Topics {
		c.topics[t.Name] = topicOf(t)
	}
}

// topicOf reads what a broker said of a topic.
func topicOf(m *sarama.TopicMetadata) *topic {
	if m.Err != sarama.ErrNoError && m.Err != sarama.ErrLeaderNotAvailable { // the latter while a topic is being created
		return &topic{err: m.Err}
	}
	t := &topic{leaders: make([]int32, len(m.Partitions)), codes: make([]error, len(m.Partitions))}
	for i := range t.leaders {
		t.leaders[i] = -1
	}
	for _, p := range m.Partitions {
		if p.ID < 0 || int(p.ID) >= len(t.leaders) {
			continue // none without those below it
		}
		t.leaders[p.ID] = p.Leader
		if p.Err != sarama.ErrNoError && p.Err != sarama.ErrReplicaNotAvailable { // the latter of a follower
			t.leaders[p.ID], t.codes[p.ID] = -1, p.Err
		}
	}
	if len(t.leaders) == 0 {
		t.err = sarama.ErrLeaderNotAvailable
	}
	return t
}
